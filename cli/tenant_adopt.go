package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ringfence.dev/ringfence/cluster"
	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/internal/durable"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/report"
	"ringfence.dev/ringfence/schema"
	"ringfence.dev/ringfence/tenant/adopt"
)

// mostUnmapped is how many of a hundred objects may be unmapped before the answer is "undecided".
const mostUnmapped = 5.0

// adoptOptions are the flags of tenant adopt.
type adoptOptions struct {
	paths               []string
	cluster             bool
	kubeconfig, context string
	to, format          string
	labels              []string
	prefix              *string
	force               bool
}

func newTenantAdopt(env Env) *cobra.Command {
	var o adoptOptions
	var prefix string
	cmd := &cobra.Command{
		Use: "adopt PATH...|-|--cluster", Short: "Make Tenants of the namespaces, rights and quotas that are there",
		Long: `Read what an existing cluster says of its teams, and write the Tenant objects that would take it over, with a list of what
somebody has to decide. Nothing is changed in any cluster. It reads namespaces, quotas, limit ranges, roles and their bindings
and network policies, Capsule's Tenants, HNC's trees, OpenShift's and Rancher's projects; docs/adopt.md says how.

Without -o only the report is printed. Exit codes: 0 done; 2 an input could not be read (what could is in the output); 3 more
than 5 % of the objects could not be mapped.`,
		Example: "  kubectl get ns,quota,limits,roles,rolebindings,clusterrolebindings,clusterroles,netpol -A -o yaml > estate.yaml\n" +
			"  ringfence tenant adopt estate.yaml -o adopted\n  ringfence tenant adopt --cluster --tenant-label bank.example/team --format json",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.paths = args
			if cmd.Flags().Changed("group-prefix") {
				o.prefix = &prefix
			}
			return adoptEstate(cmd.Context(), env, o)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.cluster, "cluster", false, "read a live cluster instead of PATHs; only GET is sent")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "with --cluster: the kubeconfig `FILE` (default KUBECONFIG, else the user's own)")
	flags.StringVar(&o.context, "context", "", "with --cluster: the `NAME` of the kubeconfig's context (default its current one)")
	flags.StringVarP(&o.to, "output", "o", "", "write Platform, Tenants and the whole report into this `FOLDER`; - writes YAML to standard output")
	flags.StringVar(&o.format, "format", "text", "the report: text or json")
	flags.StringArrayVar(&o.labels, "tenant-label", nil, "a label's or annotation's `KEY` that names the team, believed before the usual ones; may be given again")
	flags.StringVar(&prefix, "group-prefix", "", "what the API server puts before groups (default: found out of the bindings)")
	flags.BoolVar(&o.force, "force", false, "replace an earlier adoption in the folder")
	return cmd
}

// validate says what does not go together.
func (o adoptOptions) validate() error {
	refuse := func(format string, args ...any) error { return usagef("ringfence tenant adopt", format, args...) }
	switch {
	case o.format != "text" && o.format != "json":
		return refuse("--format %q: want text or json", finding.Value(o.format))
	case o.cluster && len(o.paths) > 0:
		return refuse("--cluster reads a cluster and %s is a PATH; give one of the two", finding.Value(o.paths[0]))
	case !o.cluster && len(o.paths) == 0:
		return refuse("nothing to read: give files or folders with what the cluster holds, - for standard input, or --cluster")
	case !o.cluster && (o.kubeconfig != "" || o.context != ""):
		return refuse("--kubeconfig and --context say which cluster; give --cluster too")
	}
	return nil
}

// adoptEstate is the command.
func adoptEstate(ctx context.Context, env Env, o adoptOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	if o.to != "" && o.to != "-" {
		if err := adoptable(o.to, o.force); err != nil {
			return &exitError{finding.ExitUsage, err}
		}
	}
	estate := adopt.New(adopt.Options{TenantLabels: o.labels, GroupPrefix: o.prefix})
	var faults []error
	var err error
	if o.cluster {
		faults, err = readCluster(ctx, env, o, estate)
	} else {
		faults, err = readPaths(ctx, env, o.paths, estate)
	}
	if err != nil {
		return err
	}
	for _, fault := range faults {
		fmt.Fprintln(env.Stderr, report.Inert(fault.Error()))
	}
	schemas, err := schema.New()
	if err != nil {
		return err
	}
	plan := estate.Plan(schemas)
	if plan.Counts.Objects == 0 && len(faults) == 0 {
		faults = append(faults, errors.New("nothing of tenants"))
		env.note("nothing was found that says anything of tenants; want Namespaces, RoleBindings, ResourceQuotas and the like")
	}
	if err := writeAdoption(env, o, plan); err != nil {
		return err
	}
	switch {
	case len(faults) > 0:
		return exit(finding.ExitUsage)
	case plan.Counts.UnmappedPercent() > mostUnmapped:
		env.note("%.1f %% of the objects could not be mapped, more than %.0f %%; see Unmapped in the report", plan.Counts.UnmappedPercent(), mostUnmapped)
		return exit(finding.ExitUndecided)
	}
	return nil
}

// readPaths reads files and folders. The faults are inputs and documents that could not be read; the others are.
func readPaths(ctx context.Context, env Env, paths []string, estate *adopt.Estate) (faults []error, err error) {
	for _, in := range expand(paths, nil) {
		file, fault := in.open(env.Stdin)
		if fault != nil {
			faults = append(faults, fault)
			continue
		}
		for o, fault := range manifest.ReadLists(file, in.name) {
			if ctx.Err() != nil {
				file.Close()
				return nil, ctx.Err()
			}
			if fault != nil {
				faults = append(faults, fault)
				continue
			}
			at := o.Locate("")
			estate.Add(o.Value, fmt.Sprintf("%s:%d", at.Source(), at.Line))
		}
		file.Close()
	}
	return faults, nil
}

// readCluster reads a live cluster. The faults are kinds that could not be listed.
func readCluster(ctx context.Context, env Env, o adoptOptions, estate *adopt.Estate) (faults []error, err error) {
	c, err := cluster.Connect(cluster.Config{Kubeconfig: o.kubeconfig, Context: o.context, UserAgent: "ringfence-adopt/" + cmp.Or(moduleVersion(), "devel"),
		Note: func(text string) { env.note("%s", text) }})
	if err != nil {
		return nil, &exitError{finding.ExitUsage, fmt.Errorf("--cluster: %w", err)}
	}
	var kinds []control.Kind
	for _, name := range adopt.Kinds() {
		group, kind, _ := strings.Cut(name, "/")
		switch group {
		case "authorization.openshift.io", "project.openshift.io", "extensions", "projectcalico.org":
			continue // the same objects under other names
		}
		kinds = append(kinds, control.Kind{APIGroup: group, Kind: kind, Version: "*"})
	}
	resources, faults, err := c.Resources(ctx, kinds)
	if err != nil {
		return nil, &exitError{finding.ExitUsage, fmt.Errorf("--cluster: %w", err)}
	}
	seen := map[string]bool{}
	for _, r := range resources {
		if seen[r.String()] {
			continue // another version of it
		}
		seen[r.String()] = true
		for value, fault := range c.List(ctx, r, "") {
			switch {
			case ctx.Err() != nil:
				return nil, ctx.Err()
			case fault != nil:
				faults = append(faults, fault)
			default:
				estate.Add(value, "")
			}
		}
	}
	return faults, nil
}

// writeAdoption writes what was asked for, and nothing by halves.
func writeAdoption(env Env, o adoptOptions, plan *adopt.Plan) error {
	files := plan.YAML()
	reportTo := env.Stdout
	switch o.to {
	case "":
	case "-":
		reportTo = env.Stderr
		for i, f := range files {
			gap := ""
			if i > 0 {
				gap = "---\n"
			}
			if _, err := fmt.Fprintf(env.Stdout, "%s%s", gap, f.Text); err != nil {
				return err
			}
		}
	default:
		var whole strings.Builder
		fmt.Fprintf(&whole, "# %s\n", adopt.Mark)
		if err := plan.Text(&whole, true); err != nil {
			return err
		}
		if err := writeAdopted(o.to, append(files, adopt.File{Name: "report.txt", Text: []byte(whole.String())})); err != nil {
			return err
		}
		env.note("wrote %s to %s; nothing is applied", count(len(plan.Tenants), "Tenant"), finding.Value(o.to))
	}
	if o.format == "json" {
		return plan.JSON(reportTo)
	}
	return plan.Text(reportTo, false)
}

// writeAdopted writes a folder whole or not at all: beside its place first, on the disk, and then into it.
func writeAdopted(dir string, files []adopt.File) error {
	full, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	parent := filepath.Dir(full)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("make the folder of %s: %w", dir, err)
	}
	beside, err := os.MkdirTemp(parent, ".ringfence-adopt-")
	if err != nil {
		return fmt.Errorf("make a folder beside %s: %w", dir, err)
	}
	defer os.RemoveAll(beside) // also what was replaced
	fresh, old := filepath.Join(beside, "new"), filepath.Join(beside, "old")
	folders := map[string]bool{fresh: true}
	for _, f := range files { // a folder without a file is none that check could read
		at := filepath.Join(fresh, f.Name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := writeSynced(at, f.Text); err != nil {
			return fmt.Errorf("write %s: %w", f.Name, err)
		}
		folders[filepath.Dir(at)] = true
	}
	for folder := range folders {
		if err := durable.SyncFolder(folder); err != nil {
			return err
		}
	}
	if err := os.Rename(full, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replace %s: %w", dir, err)
	}
	if err := os.Rename(fresh, full); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", dir, err), undo(old, full))
	}
	return durable.SyncFolder(parent)
}

// writeSynced writes a new file and brings it to the disk.
func writeSynced(name string, text []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// adoptable says why a folder cannot be written: it holds something, and not an earlier adoption that --force replaces.
func adoptable(dir string, force bool) error {
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == dir && !e.IsDir():
			return fmt.Errorf("%s is no folder; name another", dir)
		case path == dir || e.IsDir() && e.Name() == "tenants":
			return nil
		case !force:
			return fmt.Errorf("%s is not empty; name another folder, or replace an earlier adoption with --force", dir)
		case !e.Type().IsRegular() || !adopted(path):
			return fmt.Errorf("%s holds %s, which is not from an adoption; name another folder", dir, finding.Value(e.Name()))
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// adopted reports whether a file was made by an adoption: its first line says so.
func adopted(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	line, _, err := bufio.NewReaderSize(f, 1024).ReadLine()
	return err == nil && strings.HasPrefix(string(line), "# "+adopt.Mark)
}
