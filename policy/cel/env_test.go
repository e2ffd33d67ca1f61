package cel

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/cel/environment"

	"github.com/google/cel-go/cel"
)

// TestEnv holds the language to that of the oldest server supported: the same functions with the same overloads, the same
// macros and libraries. That the rules compile with the server's own compiler, and types, is tested with the bundles.
func TestEnv(t *testing.T) {
	server, err := environment.MustBaseEnvSet(version.MajorMinor(1, 30)).Env(environment.NewExpressions)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := newEnv()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(language(server), language(ours)); diff != "" {
		t.Errorf("the environment differs from the API server's (-server +ours):\n%s", diff)
	}
}

func language(env *cel.Env) map[string]bool {
	all := map[string]bool{}
	for name, f := range env.Functions() {
		for _, o := range f.OverloadDecls() {
			all[fmt.Sprint(name, " ", o.ID(), o.ArgTypes(), o.ResultType(), o.IsMemberFunction())] = true
		}
	}
	for _, m := range env.Macros() {
		all["macro "+m.MacroKey()] = true
	}
	for _, l := range env.Libraries() {
		all["library "+l] = true
	}
	return all
}
