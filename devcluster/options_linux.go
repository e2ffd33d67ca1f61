package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// errHelp is what parseUp returns when the user asked for help.
var errHelp = flag.ErrHelp

// maxNodes is how many nodes fit the simulated address block 192.0.2.0/24 with room to spare.
const maxNodes = 200

// options is what the user asked of "devcluster up". Every path is absolute, so the working directory may change.
type options struct {
	dir            string // empty: a temporary directory
	port           int    // 0: the remembered or a free one
	kubeconfig     string // empty: only the one in dir
	nodes          int
	auditWebhook   string // URL; empty: no audit events are sent
	auditPolicy    string // empty: the default policy, when events are sent
	authentication string // empty: client certificates and service accounts only

	noScheduler, noControllerManager     bool
	apiserverArgs, controllerManagerArgs []string
}

// parseUp reads the arguments of "devcluster up". It looks at the files they name, and changes nothing.
func parseUp(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("devcluster up", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.dir, "dir", "", "")
	fs.IntVar(&o.port, "port", 0, "")
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "")
	fs.IntVar(&o.nodes, "nodes", 2, "")
	fs.StringVar(&o.auditWebhook, "audit-webhook", "", "")
	fs.StringVar(&o.auditPolicy, "audit-policy", "", "")
	fs.StringVar(&o.authentication, "authentication-config", "", "")
	fs.BoolVar(&o.noScheduler, "no-scheduler", false, "")
	fs.BoolVar(&o.noControllerManager, "no-controller-manager", false, "")
	fs.Var((*argList)(&o.apiserverArgs), "apiserver-arg", "")
	fs.Var((*argList)(&o.controllerManagerArgs), "controller-manager-arg", "")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q: devcluster up takes flags only", fs.Arg(0))
	}
	return o, o.check()
}

// check reports every fault of o at once, and makes its paths absolute.
func (o *options) check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if o.port < 0 || o.port > 65535 {
		fault("--port %d: want 0 to 65535", o.port)
	}
	if o.nodes < 0 || o.nodes > maxNodes {
		fault("--nodes %d: want 0 to %d", o.nodes, maxNodes)
	}
	if err := checkLoopbackURL(o.auditWebhook); o.auditWebhook != "" && err != nil {
		fault("--audit-webhook %w", err)
	}
	if o.authentication != "" {
		for _, arg := range o.apiserverArgs {
			if strings.HasPrefix(arg, "--oidc-") {
				fault("--authentication-config cannot be combined with --apiserver-arg=%s: move it into the file", arg)
			}
		}
	}
	for flagName, path := range map[string]string{"audit-policy": o.auditPolicy, "authentication-config": o.authentication} {
		if path == "" {
			continue
		}
		if err := checkReadable(path); err != nil {
			fault("--%s: %w", flagName, err)
		}
	}
	for _, path := range []*string{&o.dir, &o.kubeconfig, &o.auditPolicy, &o.authentication} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			fault("find the absolute path of %s: %w", *path, err)
		}
		*path = abs
	}
	if len(faults) == 0 {
		return nil
	}
	lines := make([]string, len(faults)) // one line for all: errors.Join would make several
	for i, f := range faults {
		lines[i] = f.Error()
	}
	return errors.New(strings.Join(lines, "; "))
}

// checkLoopbackURL accepts http and https URLs that lead to this machine: audit events name users and objects.
func checkLoopbackURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return err
	}
	ip := net.ParseIP(u.Hostname())
	if (u.Scheme != "http" && u.Scheme != "https") || (u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())) {
		return fmt.Errorf("%q: want an http or https URL on loopback, such as http://127.0.0.1:8080/audit", raw)
	}
	return nil
}

func checkReadable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", path)
	}
	return nil
}

// argList is a repeatable flag whose values are flags of a component.
type argList []string

func (a *argList) String() string { return strings.Join(*a, " ") }

func (a *argList) Set(value string) error {
	if !strings.HasPrefix(value, "--") {
		return fmt.Errorf("want a flag of the component, such as --v=2")
	}
	*a = append(*a, value)
	return nil
}
