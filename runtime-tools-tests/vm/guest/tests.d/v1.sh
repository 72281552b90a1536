# shellcheck shell=bash # sourced by `tests`
# Controllers of v1 that no ordinary host mounts, and memory and cpuset on the v2 side of the same tree.
guest hybrid || return 0

check 'an RDMA device' rdma_device
scenarios {joins,undoes,freezes,kill-all,devices-are,cpu-quota,pids-limit,memory-limit,hugepages,network,rdma,rare}
suite config cgroups::
limits 'control files of a container on v1' '{
    "network": { "classID": 1048577, "priorities": [{ "name": "lo", "priority": 5 }] },
    "hugepageLimits": [{ "pageSize": "2MB", "limit": 4194304 }],
    "rdma": { "rxe0": { "hcaHandles": 3, "hcaObjects": 200 } },
    "cpu": { "shares": 2048, "quota": 30000, "period": 60000, "cpus": "0-1" },
    "pids": { "limit": 42 },
    "memory": { "limit": 67108864 } }' \
    net_cls,net_prio/@/net_cls.classid 1048577 net_cls,net_prio/@/net_prio.ifpriomap 'lo 5' \
    hugetlb/@/hugetlb.2MB.limit_in_bytes 4194304 hugetlb/@/hugetlb.2MB.rsvd.limit_in_bytes 4194304 \
    rdma/@/rdma.max 'rxe0 hca_handle=3 hca_object=200' \
    cpu/@/cpu.shares 2048 cpu/@/cpu.cfs_quota_us 30000 pids/@/pids.max 42 \
    unified/@/memory.max 67108864 unified/@/cpuset.cpus 0-1
