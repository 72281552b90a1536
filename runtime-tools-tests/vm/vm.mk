# The virtual machine: included by the Makefile. See runtime-tools-tests/vm/test.sh.

.PHONY: test-vm vm-run

test-vm: build ## what needs pure cgroup v2, systemd, AppArmor, SELinux: in virtual machines
	@$(use_host); RUNTIME=$(RUNTIME) $(TESTS)/vm/test.sh

vm-run: ## a command in the virtual machine: make vm-run COMMAND='cat /sys/fs/cgroup/cgroup.controllers'
	@runtime-tools-tests/vm/run.sh -- sh -c '$(COMMAND)'
