package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/charts"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/install/setup"
	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/render"
)

// installTimeout is how long --apply waits: pulling an image takes minutes, all else seconds.
const installTimeout = 5 * time.Minute

// planTimeout bounds each question to a cluster for a plan.
const planTimeout = 30 * time.Second

// installOptions are the flags of install and uninstall.
type installOptions struct {
	kubeconfig, context string
	apply, plan         bool
	timeout             time.Duration
	// Of install alone.
	output, image, version string
	values                 []string
	// Of uninstall alone.
	evidence bool
}

func (o *installOptions) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	userFlags(cmd, &o.kubeconfig, &o.context)
	flags.BoolVar(&o.plan, "plan", false, "only say what would be done (the default)")
	flags.BoolVar(&o.apply, "apply", false, "do it")
	flags.DurationVar(&o.timeout, "timeout", installTimeout, "how long --apply waits at most")
	cmd.MarkFlagsMutuallyExclusive("plan", "apply")
}

// newInstall is `ringfence install`.
func newInstall(env Env) *cobra.Command {
	var o installOptions
	cmd := &cobra.Command{
		Use: "install", Short: "Show what an installation would bring into a cluster, or bring it",
		Long: `Show every object that an installation applies, what Ringfence then makes itself, each right of its account with a reason, and
which door carries each control on this server. --apply applies it, removes what an earlier installation brought and this one has
not, and waits until it is in force. What is applied is the chart charts/ringfence, which is in this program; -o yaml writes it for
other tools.

Exit codes: 0 done; 1 not in force in time, or the API server said no; 2 bad usage or input.`,
		Example: `  ringfence install --kube-version 1.30
  ringfence install --image registry.bank.example/ringfence@sha256:... -f values.yaml --apply`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return installRingfence(cmd.Context(), env, o) },
	}
	o.register(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&o.output, "output", "o", "text", "`text|json|yaml`; yaml is the objects themselves")
	flags.StringVar(&o.image, "image", "", "Ringfence's image, `REPOSITORY@sha256:...`, in the bank's registry")
	flags.StringVar(&o.version, "kube-version", "", "plan for this `VERSION` of Kubernetes, 1.30 to 1.37, without a cluster")
	flags.StringArrayVarP(&o.values, "values", "f", nil, "`FILE` of values for the chart; repeatable, later ones win")
	return cmd
}

func (o installOptions) validate() error {
	refuse := func(format string, args ...any) error { return usagef("ringfence install", format, args...) }
	switch {
	case !slices.Contains([]string{"text", "json", "yaml"}, o.output):
		return refuse("-o %s: want text, json or yaml", finding.Value(o.output))
	case o.apply && o.version != "":
		return refuse("--apply and --kube-version: the cluster says which version it is; leave out --kube-version")
	case o.apply && o.output != "text":
		return refuse("--apply and -o %s: give one of the two", o.output)
	case o.timeout <= 0:
		return refuse("--timeout %v: want more than 0", o.timeout)
	}
	return nil
}

// chartValues are what the chart is rendered with. A plan may leave the image open, and then shows it as such.
func (o installOptions) chartValues(env Env) (render.Values, error) {
	values, err := render.LoadValues(o.values)
	if err != nil {
		return values, &exitError{finding.ExitUsage, err}
	}
	values = render.Values{}.With(map[string]any{"namespace": map[string]any{"create": true}}).Over(values)
	image := o.image
	if image == "" && !values.Has("image", "digest") {
		if o.apply || o.output == "yaml" {
			return values, usagef("ringfence install", "no image: want --image REPOSITORY@sha256:..., or image.repository and image.digest in a file of values")
		}
		env.note("no image is named: --apply wants --image REPOSITORY@sha256:...")
		image = "registry.invalid/ringfence@sha256:" + strings.Repeat("0", 64)
	}
	if image != "" {
		repository, digest, ok := strings.Cut(image, "@")
		if !ok {
			return values, usagef("ringfence install", "--image %s: want REPOSITORY@sha256:..., for a tag can be moved", finding.Value(image))
		}
		values = values.With(map[string]any{"image": map[string]any{"repository": repository, "digest": digest}})
	}
	return values, nil
}

// chartTexts are the rendered templates.
func (o installOptions) chartTexts(ctx context.Context, env Env) (texts [][]byte, err error) {
	values, err := o.chartValues(env)
	if err != nil {
		return nil, err
	}
	chart, err := render.OpenChartFS(charts.Ringfence(), "charts/ringfence")
	if err != nil {
		return nil, err
	}
	docs, err := chart.Render(ctx, values, v1alpha1.SystemNamespace)
	if err != nil {
		return nil, &exitError{finding.ExitUsage, err}
	}
	for _, d := range docs {
		texts = append(texts, d.Text)
	}
	return texts, nil
}

func installRingfence(ctx context.Context, env Env, o installOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	texts, err := o.chartTexts(ctx, env)
	if err != nil {
		return err
	}
	objects, err := setup.Read(texts...)
	if err != nil {
		return err
	}
	if o.output == "yaml" {
		return setup.Write(env.Stdout, objects)
	}
	server, err := o.server(ctx)
	if err != nil {
		return &exitError{finding.ExitUsage, err}
	}
	if !server.Known() {
		env.note("Kubernetes %s is newer than what this release was tried on; see that ringfence is up to date", server.Version)
	}
	if o.apply {
		return o.run(ctx, env, func(ctx context.Context, i *setup.Installer) (string, error) {
			if err := i.Apply(ctx, objects); err != nil {
				return "", err
			}
			if setup.Observes(objects) {
				return observesNext, nil
			}
			guards, err := i.Await(ctx)
			if !guards {
				return "Ringfence runs. Nothing is refused before there is a Platform; next: kubectl apply -f platform.yaml", err
			}
			return "Ringfence is in force", err
		})
	}
	cat, err := env.catalogue()
	if err != nil {
		return err
	}
	p, err := setup.New(server, cat, objects)
	if err != nil {
		return err
	}
	if o.version == "" {
		i, err := o.installer(env)
		if err == nil {
			err = i.Compare(ctx, p, objects)
		}
		if err != nil {
			env.note("what --apply would remove is not known: %v", err)
		}
	}
	if o.output == "json" {
		return indented(env, p)
	}
	return writeInstallPlan(env, p)
}

// server is the one to plan for.
func (o installOptions) server(ctx context.Context) (setup.Server, error) {
	if o.version != "" {
		return setup.ServerOf(o.version)
	}
	how, err := kube.User(o.kubeconfig, o.context)
	if err != nil {
		return setup.Server{}, fmt.Errorf("%w; or plan without a cluster with --kube-version", err)
	}
	how.Timeout = planTimeout
	return setup.Ask(ctx, how)
}

// installer is one that is asked for a plan.
func (o installOptions) installer(env Env) (*setup.Installer, error) {
	how, err := kube.User(o.kubeconfig, o.context)
	if err != nil {
		return nil, err
	}
	how.Timeout = planTimeout
	return setup.Open(how, env.Now, env.note)
}

// run does something with the cluster within the time that is given, and says what was done.
func (o installOptions) run(ctx context.Context, env Env, do func(context.Context, *setup.Installer) (string, error)) error {
	how, err := kube.User(o.kubeconfig, o.context)
	if err != nil {
		return &exitError{finding.ExitUsage, err}
	}
	installer, err := setup.Open(how, env.Now, env.note)
	if err != nil {
		return &exitError{finding.ExitUsage, err}
	}
	limited, cancel := context.WithTimeoutCause(ctx, o.timeout, errors.New("--timeout"))
	defer cancel()
	done, err := do(limited, installer)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &exitError{finding.ExitRefused, err}
	}
	fmt.Fprintln(env.Stdout, done)
	return nil
}
