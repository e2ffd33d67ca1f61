package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// maxAuths bounds a file of credentials: what a Secret may hold.
const maxAuths = 1 << 20

// pullSecret is a file of credentials in the form of a pull secret. It runs no helper programs.
type pullSecret string

var _ authn.Keychain = pullSecret("")

// read gives what the file has, by registry or by what lies in one. An error has nothing of the file's text, which may be a password.
func (p pullSecret) read() (map[string]authn.AuthConfig, error) {
	f, err := os.Open(string(p))
	if err != nil {
		return nil, fmt.Errorf("read the registries' credentials: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxAuths))
	if err != nil {
		return nil, fmt.Errorf("read the registries' credentials: %w", err)
	}
	var file struct {
		Auths map[string]authn.AuthConfig `json:"auths"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("read the registries' credentials: %w", errors.New(string(p)+` holds none; want {"auths": {HOST: {"auth": ...}}}, as in a Secret of type kubernetes.io/dockerconfigjson`))
	}
	auths := map[string]authn.AuthConfig{}
	for key, a := range file.Auths {
		key = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://"), "/")
		if key == "docker.io" || key == "index.docker.io/v1" {
			key = name.DefaultRegistry
		}
		auths[key] = a
	}
	return auths, nil
}

// Resolve implements authn.Keychain: what the file says of the repository, else of what it lies in, up to its host. Nothing said is
// nobody's credentials.
func (p pullSecret) Resolve(of authn.Resource) (authn.Authenticator, error) {
	auths, err := p.read()
	if err != nil {
		return nil, err
	}
	for key := of.String(); ; {
		if a, ok := auths[key]; ok {
			return authn.FromConfig(a), nil
		}
		up := strings.LastIndexByte(key, '/')
		if up < 0 {
			return authn.Anonymous, nil
		}
		key = key[:up]
	}
}
