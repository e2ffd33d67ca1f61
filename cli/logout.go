package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/identity/login"
)

// signOut is `ringfence logout`. What is kept is forgotten whether or not the provider answers.
func signOut(ctx context.Context, env Env, o loginOptions) error {
	folder, err := login.UserFolder()
	if err != nil {
		return err
	}
	named, err := o.settings(env, "ringfence logout")
	if err != nil {
		return err
	}
	var kept []*login.Kept
	if named == nil {
		var fault error
		if kept, fault = folder.List(); fault != nil {
			env.note("%s", finding.Clean(fault.Error()))
		}
		err = folder.Clear()
	} else {
		k, fault := folder.Load(named.Issuer, named.ClientID)
		if fault != nil {
			env.note("%s", finding.Clean(fault.Error()))
		}
		if k != nil {
			kept = append(kept, k)
		}
		err = folder.Forget(named.Issuer, named.ClientID)
	}
	if err != nil {
		return err
	}
	for _, k := range kept {
		s := &signer{env, folder, k.Settings, o}
		if fault := s.revoke(ctx, k); fault != nil {
			env.note("forgotten here, and not revoked at %s: %s", finding.Value(k.Settings.Issuer), finding.Clean(fault.Error()))
		}
	}
	env.note("signed out; sign-ins forgotten: %d", len(kept))
	return nil
}

// revoke asks the provider to take back the token that renews a sign-in.
func (s *signer) revoke(ctx context.Context, k *login.Kept) error {
	if k.RefreshToken == "" {
		return nil
	}
	client, err := s.client(ctx)
	if err != nil {
		return err
	}
	ends, err := client.Verifier.Endpoints(ctx)
	if err != nil {
		return err
	}
	if ends.Revocation == "" {
		return errors.New("it offers no revocation; the token ends by itself")
	}
	form := url.Values{"token": {k.RefreshToken}, "token_type_hint": {"refresh_token"}, "client_id": {k.Settings.ClientID}}
	if err := client.Verifier.Post(ctx, ends.Revocation, form, nil); err != nil {
		return fmt.Errorf("revoke: %w", err)
	}
	return nil
}
