package main

import (
	"os"
	"path/filepath"
	_ "time/tzdata" // CronJobs name time zones, and a small machine has no zone files

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// applet returns the component that argv names, by its own name (a symbolic link) or by its first argument, and the
// argv that component should see. It returns nil when argv names none.
func applet(argv []string) (func([]string) int, []string) {
	if run := component(filepath.Base(argv[0])); run != nil {
		return run, argv
	}
	if len(argv) > 1 {
		return component(argv[1]), argv[1:]
	}
	return nil, nil
}

// component returns the main function of a component, or nil. It sets os.Args, so a process runs one component only.
func component(name string) func(argv []string) int {
	switch name {
	case "etcd":
		return func(argv []string) int { etcdmain.Main(argv); return 0 }
	case "kube-apiserver":
		return serverMain(func() *cobra.Command { return apiserver.NewAPIServerCommand() })
	case "kube-controller-manager":
		return serverMain(func() *cobra.Command { return controllermanager.NewControllerManagerCommand() })
	case "kube-scheduler":
		return serverMain(func() *cobra.Command { return scheduler.NewSchedulerCommand() })
	case "kubectl":
		return kubectlMain
	}
	return nil
}

func serverMain(command func() *cobra.Command) func([]string) int {
	return func(argv []string) int {
		os.Args = argv
		return cli.Run(command())
	}
}

// kubectlMain sets os.Args before it makes the command, because kubectl looks there for plug-ins at that moment.
func kubectlMain(argv []string) int {
	os.Args = argv
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		cmdutil.CheckErr(err) // prints as kubectl does, and exits
	}
	return 0
}
