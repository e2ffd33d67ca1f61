// Command devcluster is a real Kubernetes control plane for one machine, in one binary.
//
// It runs etcd, kube-apiserver, kube-controller-manager and kube-scheduler as child processes of itself, on loopback,
// and stands in for the kubelets: its nodes are Ready, and Pods bound to them become Running without any container.
// It is not a cluster to run programs on: there is no exec, no logs, no port-forward, no network and no image pull.
// "ringfence up" starts it, and so do the tests of every package that needs the real API server.
package main
