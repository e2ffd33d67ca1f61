package cli

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/manifest/edit"
	"ringfence.dev/ringfence/mutate"
)

const explainMutationsLong = `Print what the platform would fill in of the objects in FILE when they are created, as a diff of FILE.

Metadata comes of the namespace, as the Tenant given with --platform has it; defaults of pods come of the Platform's
spec.defaults. Nothing is written, and nothing that FILE states is ever changed.

--gitops prints the settings that keep a GitOps controller from taking these additions for drift, in the place of the diff:
ignoreDifferences of an Argo CD Application, or driftDetection of a Flux HelmRelease. (Flux's Kustomizations need none:
they look at the fields that they applied.)`

func newExplainMutations(env Env) *cobra.Command {
	var o struct {
		platform          []string
		namespace, gitops string
	}
	cmd := &cobra.Command{
		Use: "explain-mutations [FILE|-]...", Short: "Print what the platform would fill in of an object", Long: explainMutationsLong,
		RunE: func(cmd *cobra.Command, args []string) error {
			write := map[string]func(io.Writer, []filledObject) error{"": nil, "argocd": writeArgo, "flux": writeFlux}
			if _, known := write[o.gitops]; !known {
				return usagef(cmd.CommandPath(), "--gitops %s: want argocd or flux", finding.Value(o.gitops))
			}
			if len(args) == 0 {
				return usagef(cmd.CommandPath(), "no FILE; name manifests, or - for standard input")
			}
			if len(o.platform) == 0 {
				return usagef(cmd.CommandPath(), "no --platform; what is filled in is said by a Platform and its Tenants")
			}
			all, err := fillFiles(env, args, o.platform, o.namespace, o.gitops == "")
			if err != nil || o.gitops == "" {
				return err
			}
			return write[o.gitops](env.Stdout, all)
		},
	}
	cmd.Flags().StringSliceVar(&o.platform, "platform", nil, "`FILE or folder` of Platform and Tenant objects; may be repeated")
	cmd.Flags().StringVarP(&o.namespace, "namespace", "n", "", "`NAMESPACE` of objects that name none")
	cmd.Flags().StringVar(&o.gitops, "gitops", "", "print settings for `argocd or flux` instead of the diff")
	return cmd
}

// filledObject is an object of a file, and what is filled in of it.
type filledObject struct {
	finding.Subject
	result mutate.Result
}

// fillFiles finds what is filled in of the objects of files, and where show is set prints it as diffs. Every fault is told,
// and the other inputs are shown all the same.
func fillFiles(env Env, paths, platform []string, namespace string, show bool) (all []filledObject, err error) {
	schemas, err := newSchemas(nil)
	if err != nil {
		return nil, err
	}
	settings, faults := loadSettings(platform, env.Stdin, schemas, nil, env.Now())
	if settings.platform == nil && len(faults) == 0 {
		faults = append(faults, []error{fmt.Errorf("--platform: no Platform in %s", strings.Join(platform, ", "))})
	}
	for _, in := range expand(paths, nil) {
		text, err := readWhole(env, in)
		if err != nil {
			faults = append(faults, []error{err})
			continue
		}
		some, diff, bad := fillFile(settings, in.name, text, namespace)
		all, faults = append(all, some...), append(faults, bad...)
		if show {
			if _, err := env.Stdout.Write(diff); err != nil {
				return nil, err
			}
		}
	}
	for _, group := range faults {
		for _, fault := range group {
			env.note("%v", fault)
		}
	}
	if len(faults) > 0 {
		return all, exit(finding.ExitUsage)
	}
	if show && !slices.ContainsFunc(all, func(o filledObject) bool { return len(o.result.Changes) > 0 }) {
		env.note("nothing is filled in of %s", count(len(all), "object"))
	}
	return all, nil
}

// readWhole is all of an input, at most what check --fix takes.
func readWhole(env Env, in input) ([]byte, error) {
	file, err := in.open(env.Stdin)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFixed+1))
	switch {
	case err != nil:
		return nil, pathFault(in.name, err)
	case len(text) > maxFixed:
		return nil, fmt.Errorf("%s: larger than 64 MiB, the most that is taken; split it", in.name)
	}
	return text, nil
}

// fillFile is fillFiles for one file; diff is what its text would become.
func fillFile(s *settings, name string, text []byte, namespace string) (all []filledObject, diff []byte, faults [][]error) {
	var splices []edit.Splice
	for doc, err := range manifest.Split(bytes.NewReader(text), name) {
		if err != nil {
			faults = append(faults, []error{err})
			continue
		}
		var asks []edit.Ask
		for o, err := range doc.Objects() {
			if err != nil {
				faults = append(faults, []error{err})
				continue
			}
			subject := o.Subject()
			subject.Namespace = cmp.Or(subject.Namespace, namespace)
			f := s.filling(subject.Namespace)
			r := mutate.Object(o.Value, f.namespace, &f.spec)
			if subject.Namespace == "" && mutate.PodPath(o.Value) == "" {
				r = mutate.Result{} // it may lie in no namespace at all
			}
			all = append(all, filledObject{subject, r})
			asks = append(asks, edit.Ask{Object: o, Changes: r.Changes})
		}
		some, refused, err := edit.Objects(doc, asks)
		if err != nil {
			return all, nil, append(faults, []error{err})
		}
		for o, why := range refused {
			faults = append(faults, []error{fmt.Errorf("%s: cannot be shown as a diff: %s", o.Locate(""), why.Reason)})
		}
		for _, one := range some {
			splices = append(splices, edit.Splice{From: one.From + doc.Offset(), To: one.To + doc.Offset(), Text: one.Text})
		}
	}
	return all, edit.Diff(name, text, splices), faults
}

// paths are the places that are filled in, the annotation that lists them among them.
func (o filledObject) paths() (all []string) {
	for _, c := range o.result.Changes {
		all = append(all, c.Pointer)
	}
	return all
}

// writeArgo writes what belongs into spec.ignoreDifferences of an Argo CD Application.
func writeArgo(w io.Writer, objects []filledObject) error {
	var b strings.Builder
	b.WriteString("ignoreDifferences:\n")
	for _, o := range objects {
		if len(o.result.Changes) == 0 {
			continue
		}
		group, _, found := strings.Cut(o.APIVersion, "/")
		if !found {
			group = ""
		}
		fmt.Fprintf(&b, "  - group: %q\n    kind: %s\n", group, o.Kind)
		if o.Name != "" {
			fmt.Fprintf(&b, "    name: %q\n", o.Name)
		}
		if o.Namespace != "" {
			fmt.Fprintf(&b, "    namespace: %q\n", o.Namespace)
		}
		b.WriteString("    jsonPointers:\n")
		for _, path := range o.paths() {
			fmt.Fprintf(&b, "      - %q\n", path)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeFlux writes what belongs into spec of a Flux HelmRelease.
func writeFlux(w io.Writer, objects []filledObject) error {
	var b strings.Builder
	b.WriteString("driftDetection:\n  mode: enabled\n  ignore:\n")
	for _, o := range objects {
		if len(o.result.Changes) == 0 {
			continue
		}
		b.WriteString("    - paths:\n")
		for _, path := range o.paths() {
			fmt.Fprintf(&b, "        - %q\n", path)
		}
		fmt.Fprintf(&b, "      target:\n        kind: %s\n", o.Kind)
		if o.Name != "" {
			fmt.Fprintf(&b, "        name: %q\n", o.Name)
		}
		if o.Namespace != "" {
			fmt.Fprintf(&b, "        namespace: %q\n", o.Namespace)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
