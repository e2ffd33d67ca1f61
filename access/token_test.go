package access

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"

	"ringfence.dev/ringfence/identity"
)

// judge is what the API server makes of claims whose signature is right: the user's groups and marks, or the first message.
// test/e2e/signin asks the API server itself; here is what needs other settings or an older one.
func judge(t *testing.T, o Options, minor int, claims map[string]any) (groups []string, extra map[string]string, refusal string) {
	t.Helper()
	with := compiler(minor)
	c, err := load(written(t, o), with)
	if err != nil {
		t.Fatal(err)
	}
	mapper, faults := validation.CompileAndValidateJWTAuthenticator(with, c.JWT[0], nil)
	if err := faults.ToAggregate(); err != nil {
		t.Fatal(err)
	}
	token := types.DefaultTypeAdapter.NativeToValue(claims).(traits.Mapper)
	mapped, err := mapper.Groups.EvalClaimMapping(t.Context(), token)
	if err != nil {
		return nil, nil, "groups: " + err.Error()
	}
	groups = texts(mapped.EvalResult)
	extra = map[string]string{}
	marks, err := mapper.Extra.EvalClaimMappings(t.Context(), token)
	if err != nil {
		return nil, nil, "extra: " + err.Error()
	}
	for _, m := range marks {
		extra[m.ExpressionAccessor.(*authenticationcel.ExtraMappingExpression).Key] = fmt.Sprint(m.EvalResult.Value())
	}
	results, err := mapper.ClaimValidationRules.EvalClaimMappings(t.Context(), token)
	if err != nil {
		return groups, extra, "rules: " + err.Error()
	}
	for _, r := range results {
		if r.EvalResult != types.True {
			return groups, extra, r.ExpressionAccessor.(*authenticationcel.ClaimValidationCondition).Message
		}
	}
	return groups, extra, userRefusal(t, mapper, claims, c, groups)
}

// userRefusal is the first message of the rules for users.
func userRefusal(t *testing.T, mapper authenticationcel.CELMapper, claims map[string]any, c *apiserver.AuthenticationConfiguration, groups []string) string {
	t.Helper()
	name, _ := claims[c.JWT[0].ClaimMappings.Username.Claim].(string)
	user := map[string]any{"username": *c.JWT[0].ClaimMappings.Username.Prefix + name}
	if len(groups) > 0 { // 1.30 leaves an empty list out
		user["groups"] = groups
	}
	results, err := mapper.UserValidationRules.EvalUser(t.Context(), types.DefaultTypeAdapter.NativeToValue(user).(traits.Mapper))
	if err != nil {
		return "user: " + err.Error()
	}
	for _, r := range results {
		if r.EvalResult != types.True {
			return r.ExpressionAccessor.(*authenticationcel.UserValidationCondition).Message
		}
	}
	return ""
}

func texts(v ref.Val) (out []string) {
	list := v.(traits.Lister)
	for it := list.Iterator(); it.HasNext() == types.True; {
		out = append(out, it.Next().Value().(string))
	}
	return out
}

// TestTokens judges tokens on the oldest and the newest server.
func TestTokens(t *testing.T) {
	good := map[string]any{"sub": "alice", "tid": tenantID, "oid": "o", "iat": 1000, "exp": 4600, "groups": []any{"a", "b"}}
	without := bank()
	without.UserPrefix, without.GroupPrefix = pointer(""), pointer("")
	hostile := bank()
	hostile.MFA, hostile.GroupPrefix, hostile.GroupsClaim = "mfa\"\n\\'`{}", pointer(`") + ("`), "https://bank.example/groups"
	roles := entra()
	roles.GroupsClaim = "roles"
	email := bank()
	email.UserClaim = "email"
	for name, c := range map[string]struct {
		o       Options
		claims  map[string]any // beside good; nil takes one away
		groups  []string
		mfa     string
		refusal string // part of it
	}{
		"good":               {o: Options{Identity: bank()}, groups: []string{"oidc:a", "oidc:b"}},
		"Entra":              {o: Options{Identity: entra()}, claims: map[string]any{"acrs": []any{"p1", "c1"}}, groups: []string{"oidc:a", "oidc:b"}, mfa: "true"},
		"another directory":  {o: Options{Identity: entra()}, claims: map[string]any{"tid": "other"}, refusal: "another directory"},
		"no groups":          {o: Options{Identity: bank()}, claims: map[string]any{"groups": []any{}}},
		"a text":             {o: Options{Identity: bank()}, claims: map[string]any{"groups": "a"}, refusal: "is no list"},
		"an object":          {o: Options{Identity: bank()}, claims: map[string]any{"groups": map[string]any{"system:masters": true}}, refusal: "is no list"},
		"numbers":            {o: Options{Identity: bank()}, claims: map[string]any{"groups": []any{"a", 1.0}}, refusal: "something else than names"},
		"left out":           {o: Options{Identity: bank()}, claims: map[string]any{"groups": nil, "_claim_names": map[string]any{"groups": "src1"}}, refusal: "left the groups out"},
		"marked as left out": {o: Options{Identity: bank()}, claims: map[string]any{"groups": nil, "hasgroups": true}, refusal: "left the groups out"},
		"application roles":  {o: Options{Identity: roles}, claims: map[string]any{"groups": nil, "hasgroups": true, "roles": []any{"a"}}, groups: []string{"oidc:a"}},
		"roles left out":     {o: Options{Identity: roles}, claims: map[string]any{"roles": nil, "_claim_names": map[string]any{"roles": "src1"}}, refusal: "left the groups out"},
		"5,000":              {o: Options{Identity: bank()}, claims: map[string]any{"groups": slices.Repeat([]any{"g"}, 5000)}, refusal: "more than 2048"},
		"a whole lifetime":   {o: Options{Identity: bank()}, claims: map[string]any{"exp": 1000.0 + maxLifetime}, groups: []string{"oidc:a", "oidc:b"}},
		"too long":           {o: Options{Identity: bank()}, claims: map[string]any{"exp": 1001.0 + maxLifetime}, refusal: "12 hours"},
		"no beginning":       {o: Options{Identity: bank()}, claims: map[string]any{"iat": nil}, refusal: "12 hours"},
		"masters":            {o: Options{Identity: without}, claims: map[string]any{"groups": []any{"system:masters"}}, refusal: "Kubernetes' own"},
		"administrators":     {o: Options{Identity: without}, claims: map[string]any{"groups": []any{"kubeadm:cluster-admins"}}, refusal: "Kubernetes' own"},
		"system:admin":       {o: Options{Identity: without}, claims: map[string]any{"sub": "system:admin"}, refusal: "Kubernetes' own"},
		"two lines":          {o: Options{Identity: bank()}, claims: map[string]any{"sub": "a\nb"}, refusal: "control characters"},
		"oids":               {o: Options{Identity: bank()}, claims: map[string]any{"oid": []any{"a", "b"}}, refusal: "oid"},
		"one factor":         {o: Options{Identity: bank(), RequireMFA: true}, claims: map[string]any{"amr": []any{"pwd"}}, refusal: "second factor"},
		"two factors":        {o: Options{Identity: bank(), RequireMFA: true}, claims: map[string]any{"amr": []any{"pwd", "mfa"}}, groups: []string{"oidc:a", "oidc:b"}, mfa: "true"},
		"words in words":     {o: Options{Identity: hostile}, claims: map[string]any{"acr": hostile.MFA, "https://bank.example/groups": []any{"a"}}, groups: []string{`") + ("a`}, mfa: "true"},
		"a proved address":   {o: Options{Identity: email}, claims: map[string]any{"email": "a@bank.example", "email_verified": true}, groups: []string{"oidc:a", "oidc:b"}},
		"another's address":  {o: Options{Identity: email}, claims: map[string]any{"email": "a@bank.example"}, refusal: "email_verified"},
	} {
		claims := map[string]any{}
		for _, some := range []map[string]any{good, c.claims} {
			for claim, value := range some {
				if claims[claim] = value; value == nil {
					delete(claims, claim)
				}
			}
		}
		for _, minor := range []int{FirstServer, LastServer} {
			groups, extra, refusal := judge(t, c.o, minor, claims)
			switch {
			case (c.refusal == "") != (refusal == "") || !strings.Contains(refusal, c.refusal):
				t.Errorf("1.%d %s: refusal %q, want %q", minor, name, refusal, c.refusal)
			case refusal == "" && (!slices.Equal(groups, c.groups) || extra[identity.ExtraMFA] != c.mfa || extra[identity.ExtraObject] != "o"):
				t.Errorf("1.%d %s: groups %q, extra %q", minor, name, groups, extra)
			}
		}
	}
}
