package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/image/registry"
	"ringfence.dev/ringfence/image/signature"
	"ringfence.dev/ringfence/report"
)

// importOptions are the flags of image import.
type importOptions struct {
	registryOptions
	signingKey
	cluster                                        deskOptions // how to reach it, namespace, reason, ticket
	name                                           string
	to, stage, advisories, evidence, ledgerKey     string
	platform, reports, sboms, also, accepted       []string
	quorum                                         int
	upstreamKeys                                   []string
	upstreamRoot, upstreamIdentity, upstreamIssuer string
	unsigned                                       bool
	auths                                          string
	lasts                                          time.Duration
	maxSize                                        int64
}

// newImageImport is `ringfence image import`.
func newImageImport(env Env) *cobra.Command {
	o := importOptions{}
	cmd := &cobra.Command{
		Use: "import SRC --to DST --stage DIR -n NS", Short: "Bring an image of outside into the bank's registry: checked, approved by another person, signed, recorded",
		Long: `Bring an image of outside into the bank's registry. It is fetched by digest into a folder (through HTTPS_PROXY where that is set), looked
into layer by layer, and judged: scans by the scanners that the Platform names (--report), secrets by gitleaks' rules, who signed it
upstream, a bill of materials (--sbom). What passes is asked for as an ImageImport in the namespace, which lists what was found. Another
person with the role ringfence-import-approver approves it; the same command, run again, then pushes the image with what came with it, signs
it with the bank's key, records it, and sets the tag last. Before that nothing of it has a name in the bank's registry.

Run it again whenever it was interrupted: what is in the folder is not fetched again. SRC is looked up once; a tag that moves meanwhile
changes nothing. What is found when it is pushed and was not there to approve stops it. No other hosts are asked than the two registries and
those of --also. docs/image-import.md tells the whole way.

Exit codes: 0 it is in the bank's registry; 1 it is refused; 2 bad usage, or something cannot be read; 3 it waits for its approval, or a
registry gave no answer.`,
		Example: `  ringfence image import docker.io/library/redis:7 --to registry.bank.example/ext/redis:7 --stage redis/ -n payments-dev \
    --also auth.docker.io --also production.cloudflare.docker.com --platform platform.yaml --report trivy.json --sbom sbom.json \
    --upstream-key redis.pub --key bank.key --evidence desk/ --ticket CHG0012345 --reason "cache of payments"
  ringfence image import approve redis-7-3f1a09c2d4e5 -n payments-dev`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && cmd.Flags().NFlag() == 0 {
				return group(cmd, args)
			}
			return importImage(cmd.Context(), env, o, args)
		},
	}
	o.register(cmd)
	cmd.AddCommand(newImportShow(env), newImportApprove(env), newImportList(env))
	return cmd
}

func (o *importOptions) register(cmd *cobra.Command) {
	o.registryOptions.register(cmd)
	o.signingKey.register(cmd)
	o.cluster.register(cmd)
	flags := cmd.Flags()
	flags.Lookup("timeout").DefValue = "30m0s"
	o.timeout = 30 * time.Minute
	flags.StringVar(&o.to, "to", "", "`DST` in the bank's registry, with a tag; one without is given the tag of SRC")
	flags.StringVar(&o.stage, "stage", "", "`DIR` in which the image is kept until it is pushed; the same whenever the command is run again")
	flags.StringArrayVar(&o.platform, "platform", nil, "`FILE|DIR` with the Platform, whose spec.images is the rule; may be repeated")
	flags.StringArrayVar(&o.reports, "report", nil, "`FILE` of a scanner about the image; may be repeated")
	flags.StringArrayVar(&o.sboms, "sbom", nil, "`FILE` of a bill of materials of it, CycloneDX or SPDX in JSON; may be repeated")
	flags.StringVar(&o.advisories, "advisories", "", "`FILE` of ringfence image advisories import")
	flags.IntVar(&o.quorum, "quorum", 0, "`N` scanners must have scanned it, where the Platform's images.imports does not demand more (default: as it says, else each that it names)")
	flags.StringArrayVar(&o.upstreamKeys, "upstream-key", nil, "`FILE` of a public key in PEM whose signature upstream counts; may be repeated")
	flags.StringVar(&o.upstreamRoot, "upstream-trusted-root", "", "`FILE` trusted_root.json, for --upstream-identity")
	flags.StringVar(&o.upstreamIdentity, "upstream-identity", "", "`SUBJECT` whose signature upstream counts, exactly; needs --upstream-issuer and --upstream-trusted-root")
	flags.StringVar(&o.upstreamIssuer, "upstream-issuer", "", "`URL` of who vouches for that identity")
	flags.BoolVar(&o.unsigned, "upstream-unsigned", false, "ask the approver to accept that nobody whom the bank trusts signed it upstream")
	flags.StringArrayVar(&o.accepted, "accept-secret", nil, "`RULE:PATH` that looks like a secret and is none; the approver reads it; may be repeated")
	flags.StringVar(&o.auths, "registry-auths", "", "`FILE` with the JSON of a kubernetes.io/dockerconfigjson: credentials in place of those of docker login")
	flags.StringArrayVar(&o.also, "also", nil, "`HOST[:PORT]` that is asked beside the two registries, where tokens are given out or blobs are kept; may be repeated")
	flags.Int64Var(&o.maxSize, "max-size", 4<<30, "`BYTES` of the image at most; unpacked it may have four times as many")
	flags.StringVar(&o.evidence, "evidence", "", "`DIR` of the ledger in which the import is recorded; made where it is missing, and not one that Ringfence has open")
	flags.StringVar(&o.ledgerKey, "ledger-key", "", ledgerKeyUsage)
	flags.StringVar(&o.cluster.reason, "reason", "", "why it is wanted")
	flags.StringVar(&o.cluster.ticket, "ticket", "", "the bank's record of the decision")
	flags.StringVar(&o.name, "name", "", "the ImageImport's `NAME` (default: made of DST and the digest)")
	flags.DurationVar(&o.lasts, "for", 72*time.Hour, "`TIME` in which it can be approved and pushed; at most 168h")
}

// check finds what is missing or cannot be together, and fills in the tag.
func (o *importOptions) check(args []string) error {
	const command = "ringfence image import"
	if len(args) != 1 {
		return usagef(command, "found %d arguments; want one SRC, such as docker.io/library/redis:7", len(args))
	}
	for flag, value := range map[string]string{"--to": o.to, "--stage": o.stage, "--key": o.key, "--evidence": o.evidence, "--reason": strings.TrimSpace(o.cluster.reason),
		"--ticket": o.cluster.ticket, "--namespace": o.cluster.namespace} {
		if value == "" {
			return usagef(command, "no %s: want --to, --stage, --key, --evidence, --reason, --ticket and --namespace", flag)
		}
	}
	switch {
	case len(o.reports) == 0 || len(o.sboms) == 0:
		return usagef(command, "want at least one --report of a scanner and one --sbom of the image")
	case (o.upstreamIdentity == "") != (o.upstreamIssuer == "") || o.upstreamIdentity != "" && o.upstreamRoot == "":
		return usagef(command, "--upstream-identity: want --upstream-issuer and --upstream-trusted-root with it")
	case o.unsigned && (len(o.upstreamKeys) > 0 || o.upstreamIdentity != ""):
		return usagef(command, "--upstream-unsigned and whose signature counts: give one of the two")
	case o.maxSize < 1 || o.maxSize > 1<<40:
		return usagef(command, "--max-size %d: want 1 to %d bytes", o.maxSize, int64(1)<<40)
	case o.lasts <= 0 || o.lasts > 168*time.Hour:
		return usagef(command, "--for %s: want at most 168h", o.lasts)
	case o.quorum < 0:
		return usagef(command, "--quorum %d: want a number of scanners", o.quorum)
	}
	if _, _, err := registry.Tagged(o.to); err != nil {
		_, tag, fault := registry.Tagged(args[0])
		if fault != nil || strings.Contains(o.to, "@") {
			return usagef(command, "--to: %w", err)
		}
		o.to += ":" + tag
		if _, _, err := registry.Tagged(o.to); err != nil {
			return usagef(command, "--to: %w", err)
		}
	}
	return nil
}

// upstream is whose signature counts; nil where nobody's was named.
func (o *importOptions) upstream() (*signature.Verifier, error) {
	if len(o.upstreamKeys) == 0 && o.upstreamIdentity == "" {
		return nil, nil
	}
	v := verifyOptions{keys: o.upstreamKeys, root: o.upstreamRoot, identity: o.upstreamIdentity, issuer: o.upstreamIssuer}
	return v.verifier()
}

// client asks the two registries, and no other host that nobody named.
func (o *importOptions) client() (*registry.Client, error) {
	options, err := o.options()
	if err != nil {
		return nil, err
	}
	options.Alone, options.Also, options.Auths = true, o.also, o.auths
	return registry.New(options)
}

// fetched gives what came of fetching its exit code: an image that cannot be taken is refused, a registry that lies or is away decides nothing.
func fetched(err error) error {
	switch {
	case errors.Is(err, registry.ErrForm):
		return &exitError{finding.ExitRefused, err}
	case errors.Is(err, registry.ErrLied):
		return &exitError{finding.ExitUndecided, err}
	}
	return asked(err)
}

func newImportShow(env Env) *cobra.Command {
	var o deskOptions
	cmd := &cobra.Command{
		Use: "show NAME -n NS", Short: "Print what an import brings in, what was checked and what was found",
		Long:    "Print what an import brings in, what was checked and what was found: what whoever approves it accepts.\n\nExit codes: 0 done; 1 the API server said no, or there is none; 2 bad usage, or the cluster could not be asked.",
		Example: `  ringfence image import show redis-7-3f1a09c2d4e5 -n payments-dev`,
		RunE: func(cmd *cobra.Command, args []string) error {
			const command = "ringfence image import show"
			if len(args) != 1 || o.namespace == "" {
				return usagef(command, "found %d arguments; want the NAME of one import and its namespace with -n NS", len(args))
			}
			d, err := o.open(env, command, "import", "an import is asked for in one namespace")
			if err != nil {
				return err
			}
			i, err := d.Import(cmd.Context(), o.namespace, args[0])
			if err != nil {
				return answered(err)
			}
			_, err = fmt.Fprintf(env.Stdout, "import    %s/%s\n%s", i.Namespace, i.Name, importText(i))
			return err
		},
	}
	o.register(cmd)
	return cmd
}

func newImportApprove(env Env) *cobra.Command {
	var o deskOptions
	cmd := &cobra.Command{
		Use: "approve NAME -n NS", Short: "Approve an import that another person asked for",
		Long: `Approve an import in your own name, and print what that accepts; read it before with show. The API server takes the approval of another person
than the one who asked alone, with a second factor where the Platform demands one, who has the verb approve (ringfence-import-approver).

Exit codes: 0 approved; 1 the API server said no; 2 bad usage, or the cluster could not be asked.`,
		Example: `  ringfence image import approve redis-7-3f1a09c2d4e5 -n payments-dev`,
		RunE: func(cmd *cobra.Command, args []string) error {
			const command = "ringfence image import approve"
			if len(args) != 1 {
				return usagef(command, "found %d arguments; want the NAME of one import", len(args))
			}
			d, err := o.open(env, command, "import", "an import is asked for in one namespace")
			if err != nil {
				return err
			}
			i, err := d.ApproveImport(cmd.Context(), o.namespace, args[0])
			if err != nil {
				return answered(err)
			}
			fmt.Fprintf(env.Stdout, "approved  %s/%s by %s\n", i.Namespace, i.Name, report.Inert(i.Status.Approval.Approver))
			_, err = fmt.Fprint(env.Stdout, importText(i))
			return err
		},
	}
	o.register(cmd)
	return cmd
}

func newImportList(env Env) *cobra.Command {
	var o deskOptions
	cmd := &cobra.Command{
		Use: "list -n NS", Short: "List imports and how they stand",
		Long:    "List the imports of a namespace, or of all with -A: what waits for approval, what was approved, what was imported, what ended.\n\nExit codes: 0 done; 1 the API server said no; 2 bad usage, or the cluster could not be asked.",
		Example: "  ringfence image import list -n payments-dev\n  ringfence image import list -A -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			const command = "ringfence image import list"
			if len(args) > 0 {
				return usagef(command, "found %d arguments; want none", len(args))
			}
			if err := o.checkList(command); err != nil {
				return err
			}
			d, err := o.open(env, command, "import", "an import is asked for in one namespace")
			if err != nil {
				return err
			}
			all, err := d.Imports(cmd.Context(), o.namespace)
			if err != nil {
				return answered(err)
			}
			return listImports(env, all, o.output)
		},
	}
	o.register(cmd)
	o.listFlags(cmd)
	return cmd
}
