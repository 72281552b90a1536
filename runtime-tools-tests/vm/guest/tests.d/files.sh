# shellcheck shell=bash # sourced by `tests`
# The control files of a container, read from the kernel.
guest init systemd || return 0

limits 'control files of a container' '{
    "memory": { "limit": 67108864, "swap": 100663296, "reservation": 33554432 },
    "cpu": { "shares": 2048, "quota": 30000, "period": 60000, "cpus": "0-1", "mems": "0" },
    "pids": { "limit": 42 },
    "hugepageLimits": [{ "pageSize": "2MB", "limit": 4194304 }],
    "blockIO": { "throttleReadBpsDevice": [{ "major": 254, "minor": 0, "rate": 2097152 }] },
    "unified": { "memory.high": "60000000", "cgroup.max.descendants": "9" } }' \
    @/memory.max 67108864 @/memory.swap.max 33554432 @/memory.low 33554432 @/memory.high 59998208 \
    @/cpu.weight 174 @/cpu.max '30000 60000' @/cpuset.cpus 0-1 @/cpuset.mems 0 @/pids.max 42 \
    @/hugetlb.2MB.max 4194304 @/hugetlb.2MB.rsvd.max 4194304 @/cgroup.max.descendants 9 \
    @/io.max '254:0 rbps=2097152 wbps=max riops=max wiops=max'
