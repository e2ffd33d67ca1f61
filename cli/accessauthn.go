package cli

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/access"
	"ringfence.dev/ringfence/finding"
)

// maxCA is 1 MiB: some hundred certificates. Every token is checked with them in memory.
const maxCA = 1 << 20

// authnOptions are the flags of access authn.
type authnOptions struct {
	platform              []string
	provider, server      string
	ca, output            string
	requireMFA, failsOpen bool
}

func newAccessAuthn(env Env) *cobra.Command {
	var o authnOptions
	cmd := &cobra.Command{
		Use: "authn --platform FILE", Short: "Write what an API server must be told about sign-in",
		Long: `Write what an API server must be told so that the people of the Platform's identity provider sign in, and nobody else: claim
mappings, rules for claims and users, nothing without a token but health paths. A second factor that was shown is marked, so that
policies can demand it.

Where a provider runs the API server, its own form is written. Every demand is said to be met, compensated (and by what) or open,
in comments of the YAML and as JSON; those that are open are told on standard error too. docs/access.md has the table.
Nothing is applied.

Exit codes: 0 written; 1 with --fail-on-open: a demand is open; 2 bad usage, or the Platform cannot be used.`,
		Example: "  ringfence access authn --platform platform.yaml --ca issuer-ca.pem > authentication.yaml\n" +
			"  ringfence access authn --platform platform.yaml --for eks --server-version 1.33 -o json | jq .demands",
		RunE: func(_ *cobra.Command, args []string) error { return writeAuthn(env, o, args) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&o.platform, "platform", nil, "the `FILE` or folder with the Platform; may be given again")
	flags.StringVar(&o.provider, "for", string(access.Kubernetes), "who runs the API server: kubernetes, eks, aks or gke")
	flags.StringVar(&o.server, "server-version", fmt.Sprintf("1.%d", access.LastServer), fmt.Sprintf("the API server's `VERSION`: 1.%d to 1.%d", access.FirstServer, access.LastServer))
	flags.StringVar(&o.ca, "ca", "", "the `FILE` with the PEM certificates that the issuer's is signed with (default: those the API server's machine trusts)")
	flags.BoolVar(&o.requireMFA, "require-mfa", false, "refuse tokens without a second factor for everything, not for privileged acts alone")
	flags.BoolVar(&o.failsOpen, "fail-on-open", false, "exit 1 where a demand is open")
	flags.StringVarP(&o.output, "output", "o", "yaml", "yaml: the configuration, to be used as it is; json: it, how to apply it, and the demands")
	return cmd
}

// options reads the flags.
func (o authnOptions) options() (access.Options, error) {
	refuse := func(format string, args ...any) (access.Options, error) {
		return access.Options{}, usagef("ringfence access authn", format, args...)
	}
	provider := access.Provider(o.provider)
	text, isOne := strings.CutPrefix(o.server, "1.")
	minor, err := strconv.Atoi(text)
	switch {
	case len(o.platform) == 0:
		return refuse("no --platform: want the file with the Platform, whose spec.identity says who signs in")
	case !slices.Contains(access.Providers(), provider):
		return refuse("--for %q: want kubernetes, eks, aks or gke", finding.Value(o.provider))
	case !isOne || err != nil || minor < access.FirstServer || minor > access.LastServer:
		return refuse("--server-version %q: want 1.%d to 1.%d", finding.Value(o.server), access.FirstServer, access.LastServer)
	case o.output != "yaml" && o.output != "json":
		return refuse("--output %q: want yaml or json", finding.Value(o.output))
	}
	opts := access.Options{For: provider, Server: minor, RequireMFA: o.requireMFA}
	if o.ca != "" {
		if opts.CA, err = readCA(o.ca); err != nil {
			return opts, &exitError{finding.ExitUsage, fmt.Errorf("--ca: %w", err)}
		}
	}
	return opts, nil
}

// readCA reads a small file whole.
func readCA(name string) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxCA {
		return "", fmt.Errorf("%s: want a file of certificates, of 1 MiB at most", name)
	}
	text, err := os.ReadFile(name)
	if err == nil && len(bytes.TrimSpace(text)) == 0 {
		err = fmt.Errorf("%s is empty; want PEM certificates", name)
	}
	return string(text), err
}

// writeAuthn is the command.
func writeAuthn(env Env, o authnOptions, args []string) error {
	if len(args) > 0 {
		return usagef("ringfence access authn", "found %q; the Platform is named with --platform", finding.Value(args[0]))
	}
	opts, err := o.options()
	if err != nil {
		return err
	}
	schemas, err := newSchemas(nil)
	if err != nil {
		return err
	}
	settings, faults := loadSettings(o.platform, env.Stdin, schemas, nil, env.Now())
	if settings.platform == nil && len(faults) == 0 {
		faults = append(faults, []error{fmt.Errorf("--platform: no Platform in %s", strings.Join(o.platform, ", "))})
	}
	for _, group := range faults {
		for _, fault := range group {
			env.note("%v", fault)
		}
	}
	if len(faults) > 0 {
		return exit(finding.ExitUsage)
	}
	opts.Identity = settings.platform.Spec.Identity
	a, err := access.Authenticate(opts)
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			env.note("the Platform of %s: %s", strings.Join(o.platform, ", "), strings.TrimSpace(line))
		}
		return exit(finding.ExitUsage)
	}
	write := a.YAML
	if o.output == "json" {
		write = a.JSON
	}
	if err := write(env.Stdout); err != nil {
		return err
	}
	open := 0
	for _, d := range a.Demands {
		if d.State == access.Open {
			open++
			env.note("open on %s: %s: %s", a.For, d.ID, d.How)
		}
	}
	if open > 0 && o.failsOpen {
		return exit(1)
	}
	return nil
}
