# The virtual machine: included by the Makefile. See runtime-tools-tests/vm/test.sh.

.PHONY: test-vm vm-run

test-vm: ## the tests that need pure cgroup v2 or systemd, in a virtual machine
	@CARGO_BUILD_TARGET=$$(rustc -vV | sed -n 's/^host: //p') runtime-tools-tests/vm/test.sh

vm-run: ## a command in the virtual machine: make vm-run COMMAND='cat /sys/fs/cgroup/cgroup.controllers'
	@runtime-tools-tests/vm/run.sh -- sh -c '$(COMMAND)'
