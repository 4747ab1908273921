# Takes back what a cluster has of the machine beyond its processes, which are gone or about to go.
# The first argument is the name of its network interface and of its cgroup.
name=$1
ip link delete "$name" 2>/dev/null

# A cgroup cannot go before the last of its processes. runc makes one in the empty hierarchy of version 2 too.
for attempt in $(seq 100); do
  left=
  for cgroup in /sys/fs/cgroup/*/"$name"; do
    [ -d "$cgroup" ] || continue
    find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null
    if [ -d "$cgroup" ]; then left="$left $cgroup"; fi
  done
  if [ -z "$left" ]; then exit 0; fi
  sleep 0.1
done
echo "these cgroups still have processes:$left" >&2
exit 1
