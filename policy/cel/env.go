package cel

import (
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
	"k8s.io/apiserver/pkg/cel/library"
)

// newEnv is the environment of a ValidatingAdmissionPolicy on Kubernetes 1.30, the oldest server supported, as
// k8s.io/apiserver pkg/cel/environment/base.go lists it. That one counts the cost of every step and asks for
// interruptions, which bounds what users may write; the catalogue's own rules are bounded by a test, and judged in a
// fraction of the time without. variables is of any type here, so that one environment serves all rules; that each is of
// the right type is found when the bundles are compiled.
func newEnv() (*cel.Env, error) {
	return cel.NewEnv(
		cel.HomogeneousAggregateLiterals(),
		cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true),
		cel.OptionalTypes(),
		cel.ASTValidators(
			cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals(),
			cel.ValidateHomogeneousAggregateLiterals(),
		),
		library.URLs(), library.Regex(), library.Lists(library.ListsVersion(0)), library.Authz(), library.Quantity(),
		ext.Strings(ext.StringsVersion(2)), ext.Sets(), library.IP(), library.CIDR(),
		cel.Variable("object", cel.DynType), cel.Variable("oldObject", cel.DynType),
		cel.Variable("params", cel.DynType), cel.Variable("request", cel.DynType),
		cel.Variable("variables", cel.DynType))
}
