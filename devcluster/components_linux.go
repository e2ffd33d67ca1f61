package main

import (
	"fmt"
)

// Addresses of the cluster. serviceIP is the first address of serviceCIDR, which Kubernetes gives to itself.
const (
	serviceCIDR = "10.96.0.0/16"
	serviceIP   = "10.96.0.1"
)

// etcdSocket is relative to the working directory of etcd and the API server, the etcd folder of the state directory.
// An absolute path could exceed the 108 bytes of a socket address; and no port means no certificates for it.
const etcdSocket = "client.sock"

func etcdArgs(temporary bool) []string {
	const client, peer = "unix://" + etcdSocket, "unix://peer.sock"
	args := []string{
		"--name=devcluster", "--data-dir=data", "--log-level=warn",
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=devcluster=" + peer,
		"--quota-backend-bytes=2147483648",
	}
	if temporary {
		args = append(args, "--unsafe-no-fsync")
	}
	return args
}

// apiServerArgs ends with the user's flags: of a flag given twice, the last counts.
func apiServerArgs(p pki, port int, audit []string, opts options) []string {
	args := []string{
		"--etcd-servers=unix://" + etcdSocket,
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", port),
		"--endpoint-reconciler-type=none", "--service-cluster-ip-range=" + serviceCIDR,
		"--tls-cert-file=" + p.file("apiserver.crt"), "--tls-private-key-file=" + p.file("apiserver.key"),
		"--client-ca-file=" + p.file("ca.crt"),
		"--requestheader-client-ca-file=" + p.file("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + p.file("front-proxy-client.crt"), "--proxy-client-key-file=" + p.file("front-proxy-client.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + p.file("sa.key"), "--service-account-signing-key-file=" + p.file("sa.key"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true", "--profiling=false", "--shutdown-delay-duration=0",
	}
	if opts.authentication != "" {
		args = append(args, "--authentication-config="+opts.authentication)
	}
	args = append(args, audit...)
	return append(args, opts.apiserverArgs...)
}

// controllerManagerArgs lets nodes live without heartbeats: the simulated ones send none.
func controllerManagerArgs(s *state, p pki, opts options) []string {
	return append([]string{
		"--kubeconfig=" + s.path("kube-controller-manager.kubeconfig"), "--leader-elect=false", "--secure-port=0",
		"--kube-api-qps=200", "--kube-api-burst=400", "--profiling=false",
		"--use-service-account-credentials=true", "--service-account-private-key-file=" + p.file("sa.key"),
		"--root-ca-file=" + p.file("ca.crt"),
		"--cluster-signing-cert-file=" + p.file("ca.crt"), "--cluster-signing-key-file=" + p.file("ca.key"),
		"--node-monitor-grace-period=87600h", "--node-monitor-period=1m",
	}, opts.controllerManagerArgs...)
}

func schedulerArgs(s *state) []string {
	return []string{"--kubeconfig=" + s.path("kube-scheduler.kubeconfig"), "--leader-elect=false", "--secure-port=0",
		"--kube-api-qps=200", "--kube-api-burst=400", "--profiling=false"}
}
