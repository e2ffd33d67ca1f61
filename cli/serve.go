package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/internal/kube"
	"ringfence.dev/ringfence/ledger/witness"
	"ringfence.dev/ringfence/remediate"
	"ringfence.dev/ringfence/server"
)

// newServe is `ringfence serve`: the control plane in a cluster.
func newServe(env Env) *cobra.Command {
	var cfg server.Config
	var kubeconfig, sinks string
	var promote promoter
	var keep map[string]string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the control plane in a cluster",
		Long: `Run the control plane: it installs Ringfence's own kinds and policies, compiles Guards, onboards tenants and puts
right what drifts. Inside a pod it uses the pod's service account; elsewhere --kubeconfig or KUBECONFIG.
Native policies keep refusing while it is down.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.StoreKeep, err = parseKeep("ringfence serve", "--store-keep", keep); err != nil {
				return err
			}
			return serve(cmd.Context(), env, cfg, kubeconfig, sinks, promote)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&kubeconfig, "kubeconfig", "", "cluster to run on (default: the pod's own, then KUBECONFIG)")
	flags.StringVar(&cfg.AuditAddress, "audit-address", "", "loopback host:port on which the API server's audit events arrive (default: none)")
	flags.StringVar(&cfg.Socket, "socket", "", "unix socket that answers /findings, /outcomes, /ledger, /evidence/status, /metrics and /healthz (default: none)")
	flags.StringVar(&cfg.Evidence, "evidence", "", "folder in which every refusal is kept, below signed checkpoints (default: none)")
	flags.StringVar(&cfg.LedgerKey, "ledger-key", "", ledgerKeyUsage)
	flags.StringToStringVar(&keep, "store-keep", nil, storeKeepUsage)
	flags.StringVar(&sinks, "sinks", "", "file of the sinks to which records are sent on; needs --evidence (default: none)")
	flags.StringArrayVar(&cfg.Witnesses, "witness", nil, "place outside to which checkpoints are published: folder:PATH, git:PATH, git:PATH#REMOTE, s3:BUCKET/PREFIX, or https://HOST/PATH of a witness; repeatable")
	flags.DurationVar(&cfg.WitnessEvery, "witness-every", witness.DefaultEvery, "how often checkpoints are published at most; so long can history be rewritten unseen")
	flags.StringVar(&cfg.AuditFile, "audit-file", "", "file of audit events to follow, as the API server's --audit-log-path; needs --evidence (default: none)")
	flags.StringVar(&cfg.Listen, "listen", "", "host:port of the TLS doors for audit events, check runs and checkpoints to witness (default: none)")
	flags.StringVar(&cfg.TLSCert, "tls-cert", "", "file with the certificate of --listen")
	flags.StringVar(&cfg.TLSKey, "tls-key", "", "file with its key")
	flags.StringVar(&cfg.AuditTokens, "audit-token-file", "", "file of tokens, one a line; whoever sends audit events to --listen must show one")
	flags.StringVar(&cfg.AuditClientCA, "audit-client-ca", "", "file of CA certificates; a client with a certificate of theirs needs no token")
	flags.StringVar(&cfg.PushTokens, "push-token-file", "", "file of lines NAME TOKEN: pipelines that may send runs of ringfence check to --listen; needs --evidence (default: none)")
	flags.DurationVar(&cfg.AuditSilence, "audit-silence", server.DefaultAuditSilence, "how long the audit stream may be silent before that is recorded")
	flags.StringVar(&cfg.LedgerTokens, "ledger-token-file", "", "file of tokens, one a line; whoever reads /ledger/ of --listen, with its tiles and checkpoints, must show one (default: not served there)")
	flags.StringVar(&cfg.MetricsTokens, "metrics-token-file", "", "file of tokens, one a line; whoever scrapes /metrics of --listen must show one (default: no metrics there)")
	flags.DurationVar(&cfg.DebugTime, "debug-time", remediate.DefaultDebugTime, "how long a debug container may be in a pod until the pod is evicted, where the control on debug containers denies")
	flags.StringArrayVar(&cfg.WitnessFor, "witness-for", nil, "file keyring of another ledger whose checkpoints are witnessed at --listen; repeatable")
	flags.BoolVar(&cfg.NoScan, "no-scan", false, "do not judge what lies in the cluster in the background; what fails there is then unknown")
	flags.StringVar(&promote.as, "promote-as", "", "kubeconfig of the account in whose name controls are promoted as spec.promotion of the Platform says; needs --socket and --evidence (default: nobody promotes by itself)")
	flags.DurationVar(&promote.every, "promote-every", time.Hour, "how often --promote-as looks whether a control is due, on the replica that leads")
	flags.StringVar(&cfg.ImageFacts, "image-facts", "", "folder of .json and .yaml files of kind ImageAdmission, by which images are judged (default: nothing is claimed of images)")
	flags.StringVar(&cfg.ImageReports, "image-reports", "", "folder into which reports of scanners go that pipelines send to --listen; needs --push-token-file, --api-listen or --image-reports-trivy-operator (default: none are taken)")
	flags.BoolVar(&cfg.ImageReportsOperator, "image-reports-trivy-operator", false, "take what the trivy-operator writes in the cluster into --image-reports too, when it writes it; whoever may write VulnerabilityReports is believed")
	flags.BoolVar(&cfg.ImageVerdicts, "image-verdicts", false, "judge the reports in --image-reports by the Platform's rule whenever one comes, and keep what follows in --image-facts, which must be writable")
	flags.StringVar(&cfg.ImageAdvisories, "image-advisories", "", "file of ringfence image advisories import, by which --image-verdicts knows when vulnerabilities were published and which are exploited; read again when it changes")
	apiFlags(cmd, &cfg.API)
	webhookFlags(cmd, &cfg.Webhook)
	registriesFlags(cmd, &cfg.Registries)
	tracesFlags(cmd, &cfg.Traces)
	replicaFlags(cmd, &cfg.Replicas)
	return cmd
}

func serve(ctx context.Context, env Env, cfg server.Config, kubeconfig, sinks string, promote promoter) error {
	if runtime.GOOS == "windows" {
		return errors.New("ringfence serve does not run on Windows; run it in a cluster, or on Linux or macOS")
	}
	cfg.Controls = env.Controls
	if err := promote.validate(cfg); err != nil {
		return err
	}
	if promote.as != "" {
		cfg.Leads = func(ctx context.Context) { promote.loop(ctx, env, cfg.Socket) }
	}
	var err error
	if cfg.Sinks, err = loadSinkFile(sinks); err != nil {
		return err
	}
	rest, err := kube.Config(kubeconfig)
	if err != nil {
		return err
	}
	s, err := server.New(cfg, slog.New(slog.NewTextHandler(env.Stderr, nil)))
	if err != nil {
		return err
	}
	defer s.Close()
	if url := s.AuditURL(); url != "" {
		fmt.Fprintln(env.Stdout, url) // the API server must be told this, path included
	}
	return s.Run(ctx, rest)
}
