package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/forward/wire"
	"ringfence.dev/ringfence/identity"
	"ringfence.dev/ringfence/identity/login"
)

const (
	// spare is how long a token must still count to be handed out: kubectl may take a moment to use it.
	spare = time.Minute
	// lockTime is how long another process of the same user may take to renew a sign-in.
	lockTime = 25 * time.Second
	// execVersion is the form of credential that kubectl is given.
	execVersion = "client.authentication.k8s.io/v1"
)

// loginOptions are the flags that say which sign-in is meant, and how it is made.
type loginOptions struct {
	platform, issuer, clientID, directory, ca string
	device, noBrowser, exec, mfa              bool
	port                                      int
}

func (o *loginOptions) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.platform, "platform", "", "`FILE` with the Platform, which names the provider")
	flags.StringVar(&o.issuer, "issuer", "", "the `URL` of the provider, in place of --platform")
	flags.StringVar(&o.clientID, "client-id", "", "the client's `ID` at the provider, with --issuer")
	flags.StringVar(&o.directory, "directory", "", "Entra ID's tenant `ID`, with --issuer: tokens of another are refused")
	flags.StringVar(&o.ca, "ca", "", "`FILE` with the CA of the provider's certificate (default: the machine's)")
}

// newLogin is `ringfence login`.
func newLogin(env Env) *cobra.Command {
	var o loginOptions
	cmd := &cobra.Command{
		Use: "login", Short: "Sign in with the bank's identity provider, for this command line and for kubectl",
		Long: `Sign in with the bank's identity provider: in a browser on this machine, or with --device in one on any other. The tokens are
kept in a file that you alone can read, and renewed for as long as the provider lets them be.

--exec-credential prints the token as kubectl wants it of a plug-in, from the file where it still counts. docs/signin.md has the
kubeconfig for it, and how a provider is set up.

Exit codes: 0 signed in; 1 the provider said no, or you must sign in and there is no terminal; 2 bad usage; 3 the provider did not answer.`,
		Example: `  ringfence login --platform platform.yaml
  ringfence login --issuer https://login.bank.example/realms/staff --client-id ringfence --device`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return signIn(cmd.Context(), env, o) },
	}
	o.register(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&o.device, "device", false, "sign in on another machine, by typing a code there")
	flags.BoolVar(&o.mfa, "mfa", false, "ask for the second factor that the Platform's identity.mfa names, and fail without it")
	flags.BoolVar(&o.noBrowser, "no-browser", false, "show the address and open no browser")
	flags.IntVar(&o.port, "port", 0, "the `PORT` of this machine that the browser comes back to, where the provider wants it known (default any)")
	flags.BoolVar(&o.exec, "exec-credential", false, "print an ExecCredential for kubectl")
	return cmd
}

// newLogout is `ringfence logout`.
func newLogout(env Env) *cobra.Command {
	var o loginOptions
	cmd := &cobra.Command{
		Use: "logout", Short: "Forget your sign-ins on this machine, and tell the provider",
		Long: `Forget the sign-in that --platform or --issuer names, or all. The provider is asked to revoke the token that renews it, where it
offers that; the token of the moment counts until it ends.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return signOut(cmd.Context(), env, o) },
	}
	o.register(cmd)
	return cmd
}

// told gives an error of a sign-in its exit code.
func told(err error) error {
	no, coded := (*identity.GrantError)(nil), (*exitError)(nil)
	switch {
	case err == nil || errors.Is(err, context.Canceled) || errors.As(err, &coded):
		return err
	case errors.Is(err, login.ErrSignIn), errors.Is(err, identity.ErrRefused), errors.As(err, &no):
		return &exitError{finding.ExitRefused, err}
	case errors.Is(err, identity.ErrUndecided):
		return &exitError{finding.ExitUndecided, err}
	}
	return err
}

// settings are those of the provider that the flags name; nil where they name none.
func (o *loginOptions) settings(env Env, command string) (*login.Settings, error) {
	switch {
	case o.platform != "" && (o.issuer != "" || o.clientID != "" || o.directory != ""):
		return nil, usagef(command, "found --platform beside --issuer, --client-id or --directory; want one or the other")
	case o.platform != "":
		return platformSettings(env, o, command)
	case o.issuer == "" && (o.clientID != "" || o.directory != ""):
		return nil, usagef(command, "found --client-id or --directory without --issuer; give that too")
	case o.issuer == "":
		return nil, nil
	case o.clientID == "":
		return nil, usagef(command, "found --issuer without --client-id; give that too")
	}
	if _, err := wire.Endpoint("--issuer", o.issuer); err != nil {
		return nil, usagef(command, "%w", err)
	}
	c := identity.Config{Issuer: o.issuer, ClientID: o.clientID, Directory: o.directory, UserPrefix: "oidc:"}
	return settingsOf(c, o.ca)
}

// platformSettings are those of a Platform in a file.
func platformSettings(env Env, o *loginOptions, command string) (*login.Settings, error) {
	schemas, err := newSchemas(nil)
	if err != nil {
		return nil, err
	}
	from, faults := loadSettings([]string{o.platform}, env.Stdin, schemas, nil, env.Now())
	if len(faults) > 0 {
		return nil, fmt.Errorf("--platform: %w", errors.Join(slices.Concat(faults...)...))
	}
	if from.platform == nil {
		return nil, usagef(command, "--platform %s: found no Platform in it", finding.Value(o.platform))
	}
	c := identity.ConfigOf(from.platform.Spec.Identity)
	if c.Issuer == "" || c.ClientID == "" {
		return nil, usagef(command, "--platform %s: its spec.identity names no issuer or no clientID; add them", finding.Value(o.platform))
	}
	return settingsOf(c, o.ca)
}

// settingsOf are settings as they are kept: kubectl may ask from another folder.
func settingsOf(c identity.Config, ca string) (*login.Settings, error) {
	if ca != "" {
		path, err := filepath.Abs(ca)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		ca = path
	}
	return &login.Settings{Issuer: c.Issuer, ClientID: c.ClientID, Directory: c.Directory, UserClaim: c.UserClaim, UserPrefix: c.UserPrefix, GroupsClaim: c.GroupsClaim, MFA: c.MFA, CAFile: ca}, nil
}

// signer is what the commands know of one provider.
type signer struct {
	env      Env
	folder   login.Folder
	settings login.Settings
	options  loginOptions
}

// open finds the provider: the flags', else that of the one sign-in that is kept.
func (o *loginOptions) open(env Env, command string) (*signer, error) {
	folder, err := login.UserFolder()
	if err != nil {
		return nil, err
	}
	s, err := o.settings(env, command)
	if err != nil {
		return nil, err
	}
	if s != nil {
		return &signer{env, folder, *s, *o}, nil
	}
	kept, err := folder.List()
	switch {
	case err != nil && len(kept) == 0:
		return nil, err
	case len(kept) == 0:
		return nil, &exitError{finding.ExitRefused, fmt.Errorf("%w: nobody is signed in here; fix: ringfence login --platform FILE, or --issuer URL --client-id ID", login.ErrSignIn)}
	case len(kept) > 1:
		var names []string
		for _, k := range kept {
			names = append(names, "--issuer "+finding.Value(k.Settings.Issuer)+" --client-id "+finding.Value(k.Settings.ClientID))
		}
		return nil, usagef(command, "found %d sign-ins; say which: %s", len(kept), strings.Join(names, ", or "))
	}
	return &signer{env, folder, kept[0].Settings, *o}, nil
}

// client makes what signs in.
func (s *signer) client(ctx context.Context) (*login.Client, error) {
	v := s.settings
	verifier, err := identity.New(ctx, identity.Config{Issuer: v.Issuer, ClientID: v.ClientID, Directory: v.Directory, UserClaim: v.UserClaim, UserPrefix: v.UserPrefix,
		GroupsClaim: v.GroupsClaim, MFA: v.MFA, TLS: wire.TLS{CAFile: v.CAFile}, Now: s.env.Now})
	if err != nil {
		return nil, &exitError{finding.ExitUsage, err}
	}
	cfg := login.Config{Verifier: verifier, Tell: s.env.note, Port: s.options.port, Directory: v.Directory != ""}
	if s.options.mfa {
		cfg.MFA = v.MFA
	}
	if !s.options.noBrowser && s.env.Watched {
		cfg.Open = openBrowser
	}
	return login.New(cfg), nil
}

// signIn is `ringfence login`.
func signIn(ctx context.Context, env Env, o loginOptions) error {
	const command = "ringfence login"
	if o.port < 0 || o.port > 65535 {
		return usagef(command, "--port %d: want a port, 1 to 65535", o.port)
	}
	s, err := o.open(env, command)
	if err != nil {
		return err
	}
	switch {
	case o.mfa && o.device:
		return usagef(command, "--mfa: no second factor can be asked for with --device; leave one away")
	case o.mfa && s.settings.MFA == "":
		return usagef(command, "--mfa: nothing says what proves a second factor; give --platform with a spec.identity.mfa")
	case o.exec:
		return told(s.credential(ctx))
	}
	in, err := s.ask(ctx)
	if err != nil {
		return told(err)
	}
	fmt.Fprintln(env.Stdout, finding.Clean(in.Person.Name))
	env.note("signed in until %s%s; see: ringfence access whoami", instantOf(in.Person.Expires), renewable(in))
	return nil
}

func renewable(in *login.SignedIn) string {
	if in.Tokens.Refresh == "" {
		return ""
	}
	return ", and renewed after that"
}

// ask lets the person sign in, and keeps what comes of it.
func (s *signer) ask(ctx context.Context) (*login.SignedIn, error) {
	client, err := s.client(ctx)
	if err != nil {
		return nil, err
	}
	how := client.Browser
	if s.options.device {
		how = client.Device
	}
	in, err := how(ctx)
	if err != nil {
		return nil, err
	}
	return in, s.folder.Save(login.Keep(s.settings, in))
}

// current is the sign-in that is kept, renewed where it has ended. An error wraps login.ErrSignIn where the person is needed.
func (s *signer) current(ctx context.Context) (*login.Kept, error) {
	k, err := s.load()
	if err != nil || s.lasts(k) {
		return k, err
	}
	unlock, err := s.folder.Lock(s.settings.Issuer, s.settings.ClientID, lockTime)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if k, err = s.load(); err != nil || s.lasts(k) { // another process may have renewed it
		return k, err
	}
	client, err := s.client(ctx)
	if err != nil {
		return nil, err
	}
	in, err := client.Renew(ctx, k.RefreshToken, k.Person())
	if err != nil {
		return nil, err
	}
	renewed := login.Keep(s.settings, in)
	return renewed, s.folder.Save(renewed)
}

func (s *signer) lasts(k *login.Kept) bool { return s.env.Now().Add(spare).Before(k.Expires) }

// load is the sign-in that is kept; how it was made is taken from it.
func (s *signer) load() (*login.Kept, error) {
	k, err := s.folder.Load(s.settings.Issuer, s.settings.ClientID)
	if err == nil && k == nil {
		err = fmt.Errorf("%w: nobody is signed in with %s here", login.ErrSignIn, s.settings.Issuer)
	}
	if err == nil && s.options.platform == "" {
		s.settings = k.Settings
	}
	return k, err
}

// credential prints the token as kubectl wants it.
func (s *signer) credential(ctx context.Context) error {
	interactive, err := execInfo(os.Getenv("KUBERNETES_EXEC_INFO"))
	if err != nil {
		return err
	}
	k, err := s.current(ctx)
	if errors.Is(err, login.ErrSignIn) && interactive && s.env.Watched {
		s.env.note("%s", err)
		var in *login.SignedIn
		if in, err = s.ask(ctx); err == nil {
			k = login.Keep(s.settings, in)
		}
	}
	switch {
	case errors.Is(err, login.ErrSignIn):
		return fmt.Errorf("%w; run: ringfence login --issuer %s --client-id %s", err, s.settings.Issuer, s.settings.ClientID)
	case err != nil:
		return err
	}
	type status struct {
		Token   string    `json:"token"`
		Expires time.Time `json:"expirationTimestamp"`
	}
	return json.NewEncoder(s.env.Stdout).Encode(struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Status     status `json:"status"`
	}{execVersion, "ExecCredential", status{k.IDToken, k.Expires.UTC()}})
}

// execInfo reads what kubectl says to its plug-in: whether there is somebody to ask.
func execInfo(text string) (interactive bool, err error) {
	if text == "" {
		return false, nil
	}
	var info struct {
		APIVersion string `json:"apiVersion"`
		Spec       struct {
			Interactive bool `json:"interactive"`
		} `json:"spec"`
	}
	if len(text) > 1<<20 || json.Unmarshal([]byte(text), &info) != nil {
		return false, errors.New("read KUBERNETES_EXEC_INFO: found no ExecCredential; want what kubectl writes there")
	}
	if info.APIVersion != execVersion {
		return false, fmt.Errorf("read KUBERNETES_EXEC_INFO: found %s; fix: in the kubeconfig, give users[].user.exec.apiVersion %s", finding.Value(info.APIVersion), execVersion)
	}
	return info.Spec.Interactive, nil
}

// openBrowser asks the desktop to open an address, and does not wait.
func openBrowser(address string) error {
	name, args := "xdg-open", []string{address}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", address}
	default:
		if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
			return errors.New("there is no desktop here")
		}
	}
	cmd := exec.Command(name, args...)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	return cmd.Process.Release()
}
