package ringfencetest

import (
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/identity"
)

// Person is a user as the bank's identity provider knows them.
type Person struct {
	Name   string
	Groups []string
	// Object is the oid claim, "" for none; MFA says that a second factor was shown.
	Object string
	MFA    bool
}

// Config is the configuration of a client of a person.
func (p Person) Config(on *rest.Config) *rest.Config {
	config := rest.CopyConfig(on)
	config.Impersonate = rest.ImpersonationConfig{UserName: p.Name, Groups: append([]string{"system:authenticated"}, p.Groups...), Extra: p.Extra()}
	return config
}

// Extra is what the API server would know of them beside name and groups.
func (p Person) Extra() map[string][]string {
	extra := map[string][]string{}
	if p.Object != "" {
		extra[identity.ExtraObject] = []string{p.Object}
	}
	if p.MFA {
		extra[identity.ExtraMFA] = []string{"true"}
	}
	return extra
}

// AsPerson is a client of a person.
func AsPerson(t *testing.T, on *rest.Config, p Person) client.Client {
	t.Helper()
	return Client(t, p.Config(on))
}
