package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/forward/wire"
	"ringfence.dev/ringfence/record"
	"ringfence.dev/ringfence/report"
)

const (
	// pushTime bounds all tries to send a run in, pushTry one of them: the door answers within 10 s or says come again.
	pushTime, pushTry = time.Minute, 20 * time.Second
	// pushTries is how often a run is sent, pushWait the time after the first try: it doubles. maxPushWait bounds it, whatever the
	// door asks for.
	pushTries, pushWait, maxPushWait = 5, 500 * time.Millisecond, 15 * time.Second
	// pushDoor is where the door is below the address.
	pushDoor = "/records/check-run"
)

const pushHelp = `--push URL sends what came of the run to a control plane, which keeps it as evidence (docs/evidence.md): counts, what did not
pass, the digest of the catalogue, and what git says of repository and commit; no file and no line of one. --push-token-file
holds the pipeline's token, --push-ca the CA of the control plane's certificate, --run-name names the run. It is tried for a
minute at most. A run that could not be sent is told on standard error, and exit code 0 becomes 3: evidence was asked for.`

// pushOptions are the flags of check that say where a run is sent.
type pushOptions struct{ url, tokenFile, ca, run string }

func (o *pushOptions) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.url, "push", "", "send what came of the run to the control plane at `URL`, as evidence")
	flags.StringVar(&o.tokenFile, "push-token-file", "", "`FILE` with the token for --push")
	flags.StringVar(&o.ca, "push-ca", "", "`FILE` with the CA of the certificate at --push (default: the machine's)")
	flags.StringVar(&o.run, "run-name", "", "the `NAME` of the run in its record, as the CI has it")
}

// push is a place to which a run is sent.
type push struct {
	to     *url.URL
	client *wire.Client
	token  wire.Secret
	run    string
}

// open finds what cannot be meant before anything is judged; nil where nothing is to be sent.
func (o pushOptions) open() (*push, error) {
	return o.openAt("ringfence check", pushDoor, pushTry)
}

// openAt is open for a command, with the path of its door and how long one try may take.
func (o pushOptions) openAt(command, door string, within time.Duration) (*push, error) {
	if o.url == "" {
		if o.tokenFile != "" || o.ca != "" || o.run != "" {
			return nil, usagef(command, "--push-token-file, --push-ca and --run-name are for --push; give that too")
		}
		return nil, nil
	}
	to, err := wire.Endpoint("--push", o.url)
	if err != nil {
		return nil, usagef(command, "%w", err)
	}
	if to.RawQuery != "" {
		return nil, usagef(command, "--push: want an address https://HOST/PATH without a query")
	}
	if !strings.HasSuffix(to.Path, door) {
		to = to.JoinPath(door)
	}
	if o.tokenFile == "" {
		return nil, usagef(command, "--push: want --push-token-file too: the control plane wants to know who sends")
	}
	p := &push{to: to, token: wire.Secret(o.tokenFile), run: o.run}
	if _, err := p.token.Read(); err != nil {
		return nil, usagef(command, "--push-token-file: %w", err)
	}
	if p.client, err = wire.NewClient(wire.TLS{CAFile: o.ca}, within); err != nil {
		return nil, usagef(command, "--push-ca: %w", err)
	}
	return p, nil
}

// finish sends a run that was judged, where it is to be sent, and is the exit of the command. A failure to send hides no verdict.
func (p *push) finish(ctx context.Context, env Env, o checkOptions, r *report.Report) error {
	if p == nil {
		return exit(r.Summary.Exit)
	}
	defer p.client.Close()
	id, err := "", context.Cause(ctx)
	if err == nil {
		id, err = p.send(ctx, p.record(ctx, env, o, r))
	}
	if err != nil {
		env.note("the run is not sent to %s and is no evidence: %s", p.to.Host, report.Inert(err.Error()))
		return exit(cmp.Or(r.Summary.Exit, finding.ExitUndecided))
	}
	env.note("the run is kept by %s as %s", p.to.Host, finding.Clean(id))
	return exit(r.Summary.Exit)
}

// record is the run as it is sent.
func (p *push) record(ctx context.Context, env Env, o checkOptions, r *report.Report) record.Pushed {
	run := record.Pushed{Kind: record.CheckRunKind, Time: r.Time.UTC(), Body: record.CheckRun{
		Pipeline: short(p.run), ExitCode: r.Summary.Exit, Objects: r.Summary.Objects, Refused: r.Summary.Fail}}
	if cat, err := env.catalogue(); err == nil && (len(o.policy) == 0 || o.catalogue) {
		run.CatalogueDigest = "sha256:" + cat.Digest
	}
	for _, less := range []struct {
		is   bool
		word string
	}{{o.baseline != "", "baseline"}, {o.cluster.asked, "cluster"}, {len(o.platform) == 0 && !o.cluster.asked, "no-platform"}, {len(o.only) > 0, "only"},
		{len(o.policy) > 0 && !o.catalogue, "policy"}, {o.since != "", "since"}} {
		if less.is {
			run.Body.Narrowed = append(run.Body.Narrowed, less.word)
		}
	}
	if !o.cluster.asked {
		run.Body.Repository, run.Body.Revision = whence(ctx)
	}
	run.Body.List(r.Findings)
	return run
}

// short makes a text fit for a record.
func short(s string) string {
	s = finding.Clean(s)
	if runes := []rune(s); len(runes) > 512 {
		return string(runes[:512])
	}
	return s
}

// whence is what git says of the working folder: the address of origin, without name and password, and the commit, with -dirty
// where a file differs from it. Where there is no git, or no repository, both are empty.
func whence(ctx context.Context) (repository, revision string) {
	if out, err := git(ctx, "config", "--get", "remote.origin.url"); err == nil {
		repository = address(strings.TrimSpace(string(out)))
	}
	if out, err := git(ctx, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"); err == nil {
		revision = short(strings.TrimSpace(string(out)))
	}
	return repository, revision
}

// address is that of a repository without anything that could be a secret: host and path, or host:path as ssh has it; "" for
// what is neither, as a folder.
func address(origin string) string {
	if u, err := url.Parse(origin); err == nil && u.Scheme != "" && u.Host != "" {
		return short(strings.TrimSuffix(u.Host+u.Path, ".git"))
	}
	host, path, ok := strings.Cut(origin, ":")
	if !ok || len(host) < 2 || strings.Contains(host, "/") || strings.Contains(path, "@") || strings.Contains(origin, "://") {
		return "" // a folder, a drive, or what could hold a password
	}
	host = host[strings.LastIndex(host, "@")+1:]
	return short(strings.TrimSuffix(host+"/"+strings.TrimPrefix(path, "/"), ".git"))
}

// send posts a run until it is taken, refused, or tried often enough. It is the id of the record.
func (p *push) send(ctx context.Context, run record.Pushed) (string, error) {
	body, err := json.Marshal(run)
	if err != nil {
		return "", fmt.Errorf("write the run: %w", err)
	}
	return p.sendText(ctx, body, pushTime)
}

// sendText is send of what is a text already, within a time.
func (p *push) sendText(ctx context.Context, body []byte, within time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	wait := pushWait
	for try := 1; ; try++ {
		id, again, after, err := p.post(ctx, body)
		if err == nil || !again || try == pushTries {
			return id, err
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-time.After(min(max(wait, after), maxPushWait)):
		}
		wait *= 2
	}
}

// post is one try: the id of the record, or what is wrong, whether another try may help, and when the door wants it.
func (p *push) post(ctx context.Context, body []byte) (id string, again bool, after time.Duration, err error) {
	token, err := p.token.Read()
	if err != nil {
		return "", false, 0, err
	}
	got, err := p.client.Post(ctx, p.to, http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + token}}, body)
	if err != nil {
		return "", true, 0, err
	}
	var answer struct{ ID, Error string }
	_ = json.Unmarshal(got.Body, &answer) // what is no JSON says nothing
	switch {
	case got.Status == http.StatusOK && got.Whole && answer.ID != "":
		return answer.ID, false, 0, nil
	case got.Status == http.StatusOK:
		return "", false, 0, fmt.Errorf("found an answer without an id; want that of a control plane: is the address right?")
	case got.Status == http.StatusTooManyRequests || got.Status >= 500:
		again, after = true, wire.RetryAfter(got.Header, time.Now())
	}
	if answer.Error != "" {
		answer.Error = ": " + short(answer.Error)
	}
	return "", again, after, fmt.Errorf("the door answered with status %d%s", got.Status, answer.Error)
}
