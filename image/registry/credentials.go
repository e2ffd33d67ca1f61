package registry

import (
	"encoding/json"
	"errors"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// pullSecret is the JSON of a Secret of type kubernetes.io/dockerconfigjson. It names no program that is run for credentials.
type pullSecret struct {
	Auths map[string]authn.AuthConfig `json:"auths"`
}

// keychain are the credentials of a pull secret, if there is one, before those that docker login and credential helpers keep.
func keychain(secret []byte) (authn.Keychain, error) {
	if len(secret) == 0 {
		return authn.DefaultKeychain, nil
	}
	var s pullSecret
	if err := json.Unmarshal(secret, &s); err != nil || len(s.Auths) == 0 {
		return nil, errors.New(`read the pull secret: want JSON such as {"auths": {"registry.bank.example": {"username": "...", "password": "..."}}}`) // the error may hold a password
	}
	return authn.NewMultiKeychain(s, authn.DefaultKeychain), nil
}

// Resolve gives the credentials of a registry.
func (s pullSecret) Resolve(of authn.Resource) (authn.Authenticator, error) {
	names := []string{of.String(), of.RegistryStr(), "https://" + of.RegistryStr()}
	if of.RegistryStr() == name.DefaultRegistry {
		names = append(names, authn.DefaultAuthKey, "docker.io")
	}
	for _, n := range names {
		if a, ok := s.Auths[n]; ok {
			return authn.FromConfig(a), nil
		}
	}
	return authn.Anonymous, nil
}
