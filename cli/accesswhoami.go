package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
)

// newAccessWhoami is `ringfence access whoami`.
func newAccessWhoami(env Env) *cobra.Command {
	var o loginOptions
	var output string
	cmd := &cobra.Command{
		Use: "whoami", Short: "Whom your sign-in speaks for: subject, groups, second factor, until when",
		Long: `Whom the sign-in of ringfence login speaks for, once the provider's keys have shown that it is genuine. Groups are those of the token;
where it could not hold them all, that is said, and none is shown.

Exit codes: 0 somebody; 1 nobody is signed in, or the token is refused; 2 bad usage; 3 the provider did not answer.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return whoami(cmd.Context(), env, o, output) },
	}
	o.register(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "the `FORMAT`: text, json")
	return cmd
}

// whoamiAnswer is whoami's JSON.
type whoamiAnswer struct {
	Issuer    string `json:"issuer"`
	Subject   string `json:"subject"`
	User      string `json:"user"`
	Object    string `json:"object,omitempty"`
	Directory string `json:"directory,omitempty"`
	// Groups is null where the token could not hold them.
	Groups   []string  `json:"groups"`
	MFA      bool      `json:"mfa"`
	SignedIn time.Time `json:"signedIn"`
	Expires  time.Time `json:"expires"`
}

func whoami(ctx context.Context, env Env, o loginOptions, output string) error {
	const command = "ringfence access whoami"
	if output != "text" && output != "json" {
		return usagef(command, "--output %q: want text or json", output)
	}
	s, err := o.open(env, command)
	if err != nil {
		return err
	}
	k, err := s.current(ctx)
	if err != nil {
		return told(err)
	}
	client, err := s.client(ctx)
	if err != nil {
		return err
	}
	p, whole, err := client.Verifier.Account(ctx, k.IDToken, "")
	if err != nil {
		return told(err)
	}
	a := whoamiAnswer{p.Issuer, p.Subject, p.Name, p.Object, p.Directory, p.Groups, p.MFA, p.SignedIn.UTC(), p.Expires.UTC()}
	if whole && a.Groups == nil {
		a.Groups = []string{}
	}
	if output == "json" {
		return json.NewEncoder(env.Stdout).Encode(a)
	}
	factor := "not shown"
	switch {
	case a.MFA:
		factor = "shown"
	case s.settings.MFA == "":
		factor = "not judged: the sign-in was made without a Platform that says what proves one (spec.identity.mfa)"
	}
	groups := "none"
	switch {
	case !whole:
		groups = "more than the token can hold; the control plane asks the directory for them"
	case len(a.Groups) > 0:
		groups = strings.Join(a.Groups, ", ")
	}
	for _, line := range [][2]string{{"user", a.User}, {"subject", a.Subject}, {"issuer", a.Issuer}, {"directory", a.Directory}, {"groups", groups},
		{"second factor", factor}, {"signed in", instantOf(a.SignedIn)}, {"until", instantOf(a.Expires)}} {
		if line[1] != "" {
			fmt.Fprintf(env.Stdout, "%-14s %s\n", line[0]+":", finding.Clean(line[1]))
		}
	}
	return nil
}
