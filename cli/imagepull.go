package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/forward/wire"
	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/pull"
	"ringfence.dev/ringfence/image/scanner"
	"ringfence.dev/ringfence/internal/durable"
	"ringfence.dev/ringfence/report"
)

const imagePullHelp = `Fetch reports from where a scanner keeps them, and keep each that can be read as DIR/SOURCE/DIGEST.report, DIGEST being that of the
report. ringfence image verdict, forecast and preflight read DIR/*/*.report. A report that is there already is not written again, and none
is ever removed: an earlier one says since when a vulnerability is known. It is for a cron job.

A report must name the image that it was asked for. An image of which the source has no report, or whose scan did not end, is named and
counts as not scanned. No redirect is followed, --url must be https, and certificates are verified.

Exit codes: 0 all reports are in the folder; 2 a flag is wrong, the folder cannot be written, or a report cannot be read; 3 an image is not
scanned, or the source gave no answer. What was fetched until then is kept.

Sources:
`

// maxPulled is how many reports a folder of a source may hold, as many as a control plane keeps.
const maxPulled = 100_000

// pullOptions are the flags of `ringfence image pull`.
type pullOptions struct {
	fleet                                                  fleetOptions
	from, url, user, passwordFile, ca, filter, out, output string
	cluster                                                bool
	within                                                 time.Duration
}

// newImagePull is `ringfence image pull`.
func newImagePull(env Env) *cobra.Command {
	var o pullOptions
	cmd := &cobra.Command{
		Use: "pull --from SOURCE --out DIR [DIGEST...]", Short: "Fetch the reports of a scanner into a folder that verdicts are made of",
		Long: imagePullHelp + pullSources(),
		Example: `  ringfence image pull --from qualys --url https://gateway.qg2.apps.qualys.eu --user ringfence --password-file qualys --out reports/
  ringfence image pull --from clair --url https://clair.bank.example --ca ca.pem --running --out reports/
  ringfence image pull --from trivy-operator --out reports/ && ringfence image verdict reports/*/*.report --platform platform.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), env, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.from, "from", "", "the `SOURCE`: qualys, clair or trivy-operator")
	flags.StringVar(&o.url, "url", "", "the `URL` of the source")
	flags.StringVar(&o.user, "user", "", "the `NAME` by which the source knows whoever asks")
	flags.StringVar(&o.passwordFile, "password-file", "", "`FILE` with the password or key of --user")
	flags.StringVar(&o.ca, "ca", "", "`FILE` with the CA of the certificate at --url (default: the machine's)")
	flags.StringVar(&o.filter, "filter", "", "a `QUERY` in the source's own language, which narrows what it lists (qualys)")
	flags.StringVar(&o.out, "out", "", "the `DIR` to keep reports in")
	flags.BoolVar(&o.cluster, "running", false, "ask for the images that run in the cluster (clair)")
	flags.DurationVar(&o.within, "within", time.Hour, "how long it may take altogether, waiting for a source included")
	userFlags(cmd, &o.fleet.kubeconfig, &o.fleet.context)
	flags.StringVarP(&o.fleet.namespace, "namespace", "n", "", "only what is in this namespace (default: in all)")
	flags.StringVarP(&o.output, "output", "o", "text", "text or json")
	return cmd
}

// pullSources is the list of sources for the help.
func pullSources() string {
	var b strings.Builder
	for _, s := range pull.Sources() {
		fmt.Fprintf(&b, "  %-16s %s\n", s.Name, s.About)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (o *pullOptions) run(ctx context.Context, env Env, digests []string) error {
	const command = "ringfence image pull"
	ctx, cancel := context.WithTimeoutCause(ctx, o.within, fmt.Errorf("it took longer than %s; fix: give it more with --within", o.within))
	defer cancel()
	reports, err := o.open(ctx, env, command, digests)
	if err != nil {
		return err
	}
	k := &pulled{SchemaVersion: "ringfence.dev/image-pull/v1", Source: o.from, Folder: filepath.Join(o.out, o.from), Missing: []string{}}
	if err := k.open(); err != nil {
		return &exitError{finding.ExitUsage, fmt.Errorf("%s: %w", command, err)}
	}
	var ended error
	for r, err := range reports(ctx) {
		if err == nil {
			k.Summary.Fetched++
			err = k.keep(ctx, r)
		}
		switch {
		case err == nil:
		case errors.Is(err, pull.ErrMissing):
			k.Missing = append(k.Missing, r.About)
			env.note("%s: %s", report.Inert(r.About), report.Inert(err.Error()))
		case errors.Is(err, errFolder):
			return &exitError{finding.ExitUsage, fmt.Errorf("%s: keep a report: %w", command, err)}
		case errors.Is(err, errUnreadable):
			k.Summary.Unreadable++
			env.note("%s", report.Inert(err.Error()))
		default:
			ended = err
		}
	}
	return k.tell(ctx, env, o.output, ended)
}

// open checks the flags and opens the source.
func (o *pullOptions) open(ctx context.Context, env Env, command string, digests []string) (pull.Reports, error) {
	at := slices.IndexFunc(pull.Sources(), func(s pull.Source) bool { return s.Name == o.from })
	switch {
	case o.output != "text" && o.output != "json":
		return nil, usagef(command, "-o %q: want text or json", finding.Value(o.output))
	case at < 0:
		return nil, usagef(command, "--from %q: want one of these:\n%s", finding.Value(o.from), pullSources())
	case o.out == "":
		return nil, usagef(command, "no --out; name the folder to keep reports in")
	case o.within <= 0:
		return nil, usagef(command, "--within %s: want a time above 0", o.within)
	case o.from != "clair" && (len(digests) > 0 || o.cluster):
		return nil, usagef(command, "digests and --running are for clair; %s says itself which images it knows", o.from)
	case o.from != "qualys" && o.filter != "":
		return nil, usagef(command, "--filter is for qualys")
	}
	source := pull.Sources()[at]
	config := pull.Config{User: o.user, Filter: o.filter, Images: digests, Namespace: o.fleet.namespace, Now: env.Now}
	if err := o.address(&config, source.Cluster); err != nil {
		return nil, usagef(command, "%w", err)
	}
	var err error
	if source.Cluster {
		config.Cluster, err = o.fleet.connect(env, command)
	} else if o.cluster {
		config.Images, err = o.running(ctx, env, command, digests)
	}
	if err != nil {
		return nil, err
	}
	reports, err := source.Open(config)
	if err != nil {
		return nil, usagef(command, "--from %s: %w", o.from, err)
	}
	return reports, nil
}

// address fills in where the source is and who asks; a source in the cluster has neither.
func (o *pullOptions) address(config *pull.Config, cluster bool) (err error) {
	if cluster {
		if o.url != "" || o.user != "" || o.passwordFile != "" || o.ca != "" {
			return fmt.Errorf("--url, --user, --password-file and --ca are not for %s, which is read from the cluster", o.from)
		}
		return nil
	}
	if config.URL, err = wire.Endpoint("--url", o.url); err != nil {
		return err
	}
	if config.TLS, err = (wire.TLS{CAFile: o.ca}).Config(); err != nil {
		return fmt.Errorf("--ca: %w", err)
	}
	if o.passwordFile != "" {
		config.Password = wire.Secret(o.passwordFile).Read
		if _, err := config.Password(); err != nil {
			return fmt.Errorf("--password-file: %w", err)
		}
	}
	return nil
}

// running are the digests given and those that run, each once.
func (o *pullOptions) running(ctx context.Context, env Env, command string, digests []string) ([]string, error) {
	all, err := o.fleet.running(ctx, env, command)
	if err != nil {
		return nil, err
	}
	digests = slices.Clone(digests)
	for _, r := range all.Running() {
		if r.Digest == "" {
			env.note("%s runs, and nothing says its digest: it is not asked for", report.Inert(r.References[0]))
			continue
		}
		digests = append(digests, r.Digest)
	}
	slices.Sort(digests)
	return slices.Compact(digests), nil
}

var (
	// errUnreadable says that a report is none, or is about another image.
	errUnreadable = errors.New("not kept")
	// errFolder says that the folder takes no more.
	errFolder = errors.New("the folder cannot take it")
)

// pulled is the answer as JSON, and the folder that reports go into. Fields are only added.
type pulled struct {
	SchemaVersion string   `json:"schemaVersion"`
	Source        string   `json:"source"`
	Folder        string   `json:"folder"`
	Missing       []string `json:"missing"` // what was asked for and is not scanned
	Summary       struct {
		Fetched    int `json:"fetched"`
		New        int `json:"new"` // of those that were fetched
		Unreadable int `json:"unreadable"`
		Missing    int `json:"missing"`
		Exit       int `json:"exit"`
	} `json:"summary"`
	// Ended says why the source was not read to its end; null where it was.
	Ended *string `json:"ended"`

	held int
}

// open makes the folder and counts what is in it.
func (k *pulled) open() error {
	if err := os.MkdirAll(k.Folder, 0o700); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(k.Folder, "*.report"))
	k.held = len(names)
	return err
}

// keep writes a report that can be read and is about what it was asked for; whole, or not at all.
func (k *pulled) keep(ctx context.Context, r pull.Report) error {
	facts, err := scanner.Read(ctx, r.About, bytes.NewReader(r.Text))
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("%w: %w", errUnreadable, err)
	case r.Digest != "" && !slices.ContainsFunc(facts, func(f image.Facts) bool { return slices.Contains(f.Digests, r.Digest) }):
		return fmt.Errorf("%w: %s: the report is about another image", errUnreadable, r.About)
	case len(facts) == 0 || !slices.ContainsFunc(facts, func(f image.Facts) bool { return len(f.Digests) > 0 }):
		return fmt.Errorf("%w: its report names no digest", pull.ErrMissing)
	}
	sum := sha256.Sum256(r.Text)
	path := filepath.Join(k.Folder, hex.EncodeToString(sum[:])+".report")
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	if k.held++; k.held > maxPulled {
		return fmt.Errorf("%w: %s holds %d reports; fix: remove those that are older than the Platform's maxScanAge and grace together", errFolder, k.Folder, maxPulled)
	}
	if err := durable.Replace(path, r.Text, 0o600); err != nil {
		return fmt.Errorf("%w: %w", errFolder, err)
	}
	k.Summary.New++
	return nil
}

// tell writes what came of it; ended is why the source was not read to its end.
func (k *pulled) tell(ctx context.Context, env Env, output string, ended error) error {
	k.Summary.Missing = len(k.Missing)
	switch {
	case k.Summary.Unreadable > 0:
		k.Summary.Exit = finding.ExitUsage
	case ended != nil || len(k.Missing) > 0:
		k.Summary.Exit = finding.ExitUndecided
	}
	if ended != nil {
		text := finding.Clean(ended.Error())
		k.Ended = &text
	}
	var err error
	if output == "json" {
		err = indented(env, k)
	} else {
		_, err = fmt.Fprintf(env.Stdout, "%s: %s fetched, %d new, %d unreadable, %s not scanned; in %s\n",
			k.Source, count(k.Summary.Fetched, "report"), k.Summary.New, k.Summary.Unreadable, count(len(k.Missing), "image"), report.Inert(k.Folder))
	}
	if err != nil {
		return fmt.Errorf("write what was fetched: %w", err)
	}
	if ended == nil {
		return exit(k.Summary.Exit)
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return &exitError{k.Summary.Exit, fmt.Errorf("ringfence image pull: %w", ended)}
}
