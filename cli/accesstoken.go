package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/forward/wire"
	"ringfence.dev/ringfence/local"
	"ringfence.dev/ringfence/tenant/desk"
)

// maxTokenAnswer bounds what is read of an answer, in bytes: a token has some 1,500.
const maxTokenAnswer = 64 << 10

func newAccessToken(env Env) *cobra.Command {
	var o accessOptions
	cmd := &cobra.Command{
		Use: "token NAME -n NS", Short: "Get a token of an elevation of yours",
		Long: `Get a token of an elevation of yours that lives, on standard output. It ends a minute before the elevation does, at the latest. Where
less than 11 minutes are left there is none. Each token is recorded.

With --api it is asked of the signed-in API, with the token in --api-token-file. Else it is asked of the ringfence up or serve on
this machine whose directory is --dir, and the kubeconfig's own bearer token says who you are.`,
		Example: "  kubectl --token \"$(ringfence access token inc0012345-x7k2p -n payments-prod)\" -n payments-prod logs deploy/api",
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.one(env, cmd.CommandPath(), args, func(d *desk.Desk, name string) error {
				return accessToken(cmd.Context(), env, o, d, name)
			})
		},
	}
	o.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.dir, "dir", defaultDir, "the directory of the running ringfence up")
	flags.StringVar(&o.api, "api", "", "ask the signed-in API at `URL`")
	flags.StringVar(&o.apiTokenFile, "api-token-file", "", "`FILE` with your token for --api")
	flags.StringVar(&o.apiCAPem, "api-ca", "", "`FILE` with the CA of the certificate at --api (default: the machine's)")
	return cmd
}

func accessToken(ctx context.Context, env Env, o accessOptions, d *desk.Desk, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	ask := o.askSocket
	if o.api != "" {
		ask = o.askAPI
	}
	status, body, err := ask(ctx, d, name)
	if err != nil {
		return err
	}
	if status < 200 || status > 299 {
		err := fmt.Errorf("token of elevation %s in %s: %w: %s", name, o.namespace, desk.ErrRefused, problemText(body))
		if status >= 500 {
			return fmt.Errorf("token of elevation %s in %s: %s", name, o.namespace, problemText(body))
		}
		return err
	}
	var given struct {
		Token   string    `json:"token"`
		Expires time.Time `json:"expires"`
	}
	if err := json.Unmarshal(body, &given); err != nil || given.Token == "" {
		return fmt.Errorf("token of elevation %s: the answer holds none; check the address", name)
	}
	fmt.Fprintln(env.Stdout, given.Token)
	env.note("it is good until %s; what is done with it is recorded under the elevation's ticket", instantOf(given.Expires))
	return nil
}

// problemText is what an answer says of itself: the detail of a problem (RFC 9457), else its first line.
func problemText(body []byte) string {
	var problem struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	if json.Unmarshal(body, &problem) == nil && problem.Title+problem.Detail != "" {
		return finding.Clean(strings.TrimSpace(problem.Title + " " + problem.Detail))
	}
	line, _, _ := bytes.Cut(body, []byte("\n"))
	return finding.Clean(string(line))
}

// askSocket asks the Ringfence of this machine.
func (o accessOptions) askSocket(ctx context.Context, d *desk.Desk, name string) (int, []byte, error) {
	bearer, err := d.Bearer(ctx)
	if err == nil && bearer == "" {
		err = o.own(ctx, d, name)
	}
	if err != nil {
		return 0, nil, err
	}
	client := onSocket(local.SocketPath(o.dir))
	defer client.CloseIdleConnections()
	at := "http://ringfence/elevations/" + url.PathEscape(o.namespace) + "/" + url.PathEscape(name) + "/token"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, at, nil)
	if err != nil {
		return 0, nil, err
	}
	if bearer != "" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := client.Do(request)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		return 0, nil, fmt.Errorf("no ringfence up is running on %s; start one, name its --dir, or name the signed-in API with --api", o.dir)
	case err != nil:
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxTokenAnswer))
	return response.StatusCode, body, err
}

// own refuses an elevation of somebody else. Who has no token of their own is nobody to the Ringfence of this machine, which then may
// take whoever may open its socket for the person who asked; that person is meant, and no other whom the kubeconfig speaks for.
func (o accessOptions) own(ctx context.Context, d *desk.Desk, name string) error {
	who, err := d.Who(ctx)
	if err != nil {
		return err
	}
	e, err := d.Elevation(ctx, o.namespace, name)
	if err != nil {
		return err
	}
	if e.Spec.Requester != who.Name || e.Spec.RequesterObject != who.Object {
		return fmt.Errorf("token of elevation %s in %s: %w: %s asked for it and gets its tokens, and you are %s", name, o.namespace, desk.ErrRefused,
			finding.Value(e.Spec.Requester), finding.Value(who.Name))
	}
	return nil
}

// askAPI asks the signed-in API.
func (o accessOptions) askAPI(ctx context.Context, _ *desk.Desk, name string) (int, []byte, error) {
	const command = "ringfence access token"
	to, err := wire.Endpoint("--api", o.api)
	if err != nil {
		return 0, nil, usagef(command, "%w", err)
	}
	token, err := wire.Secret(o.apiTokenFile).Read()
	if err != nil {
		return 0, nil, usagef(command, "--api-token-file: %w", err)
	}
	client, err := wire.NewClient(wire.TLS{CAFile: o.apiCAPem}, 20*time.Second)
	if err != nil {
		return 0, nil, usagef(command, "--api-ca: %w", err)
	}
	defer client.Close()
	answer, err := client.Post(ctx, to.JoinPath("api/v1/elevations", o.namespace, name, "token"), http.Header{"Authorization": {"Bearer " + token}}, nil)
	if err != nil {
		return 0, nil, err
	}
	return answer.Status, answer.Body, nil
}
