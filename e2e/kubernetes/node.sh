# The node: the first process of a pid namespace, with mount, network, host name and IPC namespaces of its own. When it
# ends, so does everything that it started, pods included.
#
# NAME, NODE_ADDRESS, HOST_ADDRESS, SERVICE_NETWORK, and the folders RUN (of this cluster), HYPERKUBE, TOOLS and
# PACKAGES (programs) come by the environment.
set -euo pipefail

# What is mounted here is seen by nobody else: the default paths of all programs belong to this cluster alone.
mount --make-rshared /
mount -t tmpfs tmpfs /run
mkdir /run/node /run/hyperkube /run/tools /run/packages
mount --bind "$RUN" /run/node
mount --bind "$HYPERKUBE" /run/hyperkube
mount --bind "$TOOLS" /run/tools
mount --bind "$PACKAGES" /run/packages
mkdir -p /run/node/var/log /run/node/var/lib/{containerd,kubelet} /run/node/volumes
mkdir -p -m 700 /run/node/var/lib/etcd
mount --bind /run/node/var/log /var/log
mount --bind /run/node/var/lib /var/lib
mount -t tmpfs tmpfs /tmp
# The path is written into the provisioner of the controller manager.
mkdir /tmp/hostpath_pv
mount --bind /run/node/volumes /tmp/hostpath_pv

export PATH=/run/hyperkube:/run/packages/usr/bin:/run/packages/usr/sbin:/usr/sbin:/usr/bin:/sbin:/bin
export LD_LIBRARY_PATH=/run/packages/usr/lib/$(uname -m)-linux-gnu:/run/packages/lib/$(uname -m)-linux-gnu
cd /run/node
hostname "$NAME"

# The kubelet wants these values and would set them for the whole machine: it is shown files that hold them already.
mkdir /run/sysctl
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  path=${setting%=*} file=/run/sysctl/${setting//[\/=]/_}
  echo "${setting#*=}" > "$file"
  mount --bind "$file" "/proc/sys/$path"
done

# Volumes come as 0750 of root, and volumes of this kind do not follow fsGroup: a pod that is not root could write none.
( while sleep 0.3; do find /tmp/hostpath_pv -mindepth 1 -maxdepth 1 -perm 0750 -exec chmod 0777 {} +; done ) &

ip link set lo up
while [ ! -e /run/node/connected ]; do sleep 0.02; done
ip address add "$NODE_ADDRESS/30" dev eth0
ip link set eth0 up
ip route add default via "$HOST_ADDRESS"
echo 1 > /proc/sys/net/ipv4/ip_forward

# Keeps a program running until there is a file stop/NAME, and says by stopped/NAME that it has seen it.
mkdir -p stop stopped pid log
component() {
  local name=$1
  (
    set +e
    while :; do
      if [ -e "stop/$name" ]; then
        touch "stopped/$name"
        while [ -e "stop/$name" ]; do sleep 0.05; done
        rm -f "stopped/$name"
      fi
      "$@" >> "log/$name.log" 2>&1 &
      echo $! > "pid/$name.new"
      mv "pid/$name.new" "pid/$name"
      wait $!
      echo "$(date +%T) $name ended ($?)"
      rm -f "pid/$name"
      sleep 0.3
    done
  ) &
}
# Waits for what the rest rests on; whoever started us looks at the clock.
until_so() { while ! "$@" > /dev/null 2>&1; do sleep 0.1; done; }

component etcd --data-dir=/var/lib/etcd --unsafe-no-fsync --log-level=warn \
  --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
  --listen-peer-urls=http://127.0.0.1:2380 --initial-advertise-peer-urls=http://127.0.0.1:2380 \
  --initial-cluster=default=http://127.0.0.1:2380
component kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
  --bind-address=0.0.0.0 --secure-port=6443 --advertise-address="$NODE_ADDRESS" \
  --service-cluster-ip-range="$SERVICE_NETWORK" --client-ca-file=pki/ca.crt \
  --tls-cert-file=pki/kube-apiserver.crt --tls-private-key-file=pki/kube-apiserver.key \
  --kubelet-client-certificate=pki/kubelet-client.crt --kubelet-client-key=pki/kubelet-client.key \
  --kubelet-certificate-authority=pki/ca.crt --kubelet-preferred-address-types=InternalIP \
  --service-account-key-file=pki/service-accounts.pub --service-account-signing-key-file=pki/service-accounts.key \
  --service-account-issuer=https://kubernetes.default.svc.cluster.local \
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true
component containerd --config etc/containerd.toml
until_so ctr version
for image in /run/hyperkube/*.tar /run/tools/*.tar /run/packages/*.tar; do ctr -n k8s.io images import "$image"; done
# The controller manager gives up where it finds no RBAC rules yet.
until_so kubectl --kubeconfig=etc/admin.kubeconfig get --raw /readyz
component kube-controller-manager --kubeconfig=etc/kube-controller-manager.kubeconfig \
  --authentication-kubeconfig=etc/kube-controller-manager.kubeconfig \
  --authorization-kubeconfig=etc/kube-controller-manager.kubeconfig \
  --service-account-private-key-file=pki/service-accounts.key --root-ca-file=pki/ca.crt \
  --use-service-account-credentials=true --leader-elect=false --bind-address=127.0.0.1 \
  --enable-hostpath-provisioner=true
component kube-scheduler --kubeconfig=etc/kube-scheduler.kubeconfig \
  --authentication-kubeconfig=etc/kube-scheduler.kubeconfig \
  --authorization-kubeconfig=etc/kube-scheduler.kubeconfig --leader-elect=false --bind-address=127.0.0.1
component kubelet --config=etc/kubelet.yaml --kubeconfig=etc/kubelet.kubeconfig --root-dir=/var/lib/kubelet \
  --cert-dir=pki --hostname-override="$NAME" --node-ip="$NODE_ADDRESS"
component kube-proxy --config=etc/kube-proxy.yaml --hostname-override="$NAME"
# As the first process, this shell also takes in the orphans of containers.
wait
