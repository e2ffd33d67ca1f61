package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"go.etcd.io/etcd/api/v3/version"
	kubernetesversion "k8s.io/component-base/version"
)

const usage = `devcluster runs a Kubernetes control plane on this machine: etcd, API server, controller manager, scheduler
and simulated nodes. It has no kubelet: Pods become Running, but exec, logs and port-forward have nothing to reach.

  devcluster up [flags]      start it and run until SIGTERM or Ctrl-C
  devcluster kubectl ...     kubectl of the same version
  devcluster etcd|kube-apiserver|kube-controller-manager|kube-scheduler ...
                             one component with its own flags; a symbolic link with that name does the same
  devcluster version         print the versions
`

const usageUp = `devcluster up starts the control plane and prints one line of JSON on standard output when it is ready.

  --dir DIR                      keep the state here between runs (default: a temporary directory, removed at the end)
  --port N                       port of the API server on 127.0.0.1 (default 0: the one used last, else a free one)
  --kubeconfig FILE              also write the administrator's kubeconfig here
  --nodes N                      simulated nodes, 0 to 200 (default 2)
  --audit-webhook URL            send audit events to this http or https URL on loopback
  --audit-policy FILE            audit policy (default with --audit-webhook: changes only, metadata only)
  --authentication-config FILE   AuthenticationConfiguration of the API server; not together with its --oidc flags
  --apiserver-arg ARG            flag for kube-apiserver, repeatable, paths absolute: --apiserver-arg=--v=2
  --controller-manager-arg ARG   flag for kube-controller-manager, repeatable
  --no-scheduler                 do not run kube-scheduler: Pods stay Pending
  --no-controller-manager        do not run kube-controller-manager: no service accounts, no Deployments
`

func main() {
	if run, argv := applet(os.Args); run != nil {
		os.Exit(run(argv))
	}
	os.Exit(command(os.Args[1:], os.Stdout, os.Stderr))
}

// command runs a subcommand that is no applet and returns the exit code: 0 done, 1 it went wrong, 2 bad usage.
func command(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	switch args[0] {
	case "up":
		opts, err := parseUp(args[1:])
		if errors.Is(err, errHelp) {
			fmt.Fprint(stdout, usageUp)
			return 0
		}
		if err != nil {
			fmt.Fprintf(stderr, "devcluster: %v; see devcluster up --help\n", err)
			return 2
		}
		if err := up(opts, stdout, stderr); err != nil {
			fmt.Fprintf(stderr, "devcluster: %v\n", err)
			return 1
		}
		return 0
	case "version", "--version":
		fmt.Fprintf(stdout, "devcluster: Kubernetes %s, etcd %s\n", kubernetesversion.Get().GitVersion, version.Version)
		return 0
	case "help", "--help", "-h":
		fmt.Fprint(stdout, usage)
		return 0
	}
	fmt.Fprintf(stderr, "devcluster: unknown command %q; see devcluster --help\n", args[0])
	return 2
}
