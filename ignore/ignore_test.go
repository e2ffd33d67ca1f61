package ignore

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// paths are the files of every case.
var paths = []string{"a.yaml", "b.yml", "dir/a.yaml", "dir/sub/a.yaml", "dir/sub/b.yml", "dir/sub/deep/c.yaml", "other/dir/a.yaml", "other/x.yaml",
	"build/a.yaml", "build/keep/a.yaml", "é.yaml", "a b.yaml", "trail ", "#hash", "!bang", "x[1].yaml", "x1.yaml", "x-.yaml", "A.yaml", "**.yaml", "back\\slash"}

// files are the ignore files of each case: name of the file, a colon, its lines.
var cases = map[string][]string{
	"name anywhere":            {".gitignore:a.yaml"},
	"anchored":                 {".gitignore:/a.yaml\ndir/sub/b.yml"},
	"folder only":              {".gitignore:dir/"},
	"folder only, a file":      {".gitignore:a.yaml/"},
	"negated":                  {".gitignore:*.yaml\n!a.yaml"},
	"order":                    {".gitignore:!a.yaml\n*.yaml"},
	"not in an ignored folder": {".gitignore:build/\n!build/keep/a.yaml"},
	"in an open folder":        {".gitignore:build/*\n!build/keep/"},
	"nested":                   {".gitignore:*.yaml", "dir/.gitignore:!a.yaml", "dir/sub/.gitignore:a.yaml"},
	"nested, anchored":         {"dir/.gitignore:/a.yaml"},
	"two stars first":          {".gitignore:**/sub/a.yaml"},
	"two stars last":           {".gitignore:dir/**"},
	"two stars between":        {".gitignore:dir/**/c.yaml\nother/**/x.yaml"},
	"two stars in a name":      {".gitignore:**.yml"},
	"three stars":              {".gitignore:***/a.yaml"},
	"star and slash":           {".gitignore:*/a.yaml"},
	"question mark":            {".gitignore:x?.yaml\n?.yml"},
	"class":                    {".gitignore:x[0-9].yaml"},
	"class, negated":           {".gitignore:x[!0-9].yaml\n[^a].yml"},
	"class, bracket":           {".gitignore:x[[]1[]].yaml"},
	"class, escaped":           {".gitignore:x\\[1\\].yaml"},
	"class, named":             {".gitignore:x[[:digit:]].yaml\n[[:upper:]].yaml"},
	"class, dash":              {".gitignore:x[0-].yaml\nx[a-].yaml"},
	"class, never a slash":     {".gitignore:dir[.-0]a.yaml\ndir[/]a.yaml"},
	"class, open":              {".gitignore:x[1.yaml"},
	"class, no such name":      {".gitignore:x[[:nope:]].yaml"},
	"comment and escapes":      {".gitignore:#hash\n\\!bang"},
	"escaped hash":             {".gitignore:\\#hash"},
	"backslash":                {".gitignore:back\\\\slash"},
	"backslash at the end":     {".gitignore:a.yaml\\"},
	"spaces at the end":        {".gitignore:a.yaml   \ntrail\\ "},
	"space inside":             {".gitignore:a b.yaml"},
	"carriage return and mark": {".gitignore:\ufeffa.yaml\r\nb.yml\r\n"},
	"nothing":                  {".gitignore:\n/\n!\n   \n//"},
	"literal stars":            {".gitignore:\\*\\*.yaml"},
}

// TestAsGit holds the package to what git itself says of the same files.
func TestAsGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git here")
	}
	for name, files := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, p := range paths {
				write(t, dir, p, "")
			}
			for _, f := range files {
				file, text, _ := strings.Cut(f, ":")
				write(t, dir, file, text)
			}
			git(t, dir, "init", "-q")
			want := strings.Split(strings.Trim(git(t, dir, "ls-files", "-z", "--others", "--exclude-per-directory=.gitignore"), "\x00"), "\x00")
			slices.Sort(want)
			if diff := cmp.Diff(want, listed(t, dir, ".")); diff != "" {
				t.Errorf("files that are not ignored differ (-git +this):\n%s", diff)
			}
		})
	}
}

// TestOwnFile shows that .ringfenceignore goes before every .gitignore, and that a folder in a repository has the patterns
// of those above it.
func TestOwnFile(t *testing.T) {
	dir := t.TempDir()
	for _, p := range paths {
		write(t, dir, p, "")
	}
	write(t, dir, ".gitignore", "*.yml\ndir/sub/a.yaml\n")
	write(t, dir, ".ringfenceignore", "other/\n!b.yml\n")
	write(t, dir, "dir/.gitignore", "!*\n*.yml\n")
	contains := func(list []string, name string, want bool) {
		t.Helper()
		if slices.Contains(list, name) != want {
			t.Errorf("%s is in %q: %v, want %v", name, list, !want, want)
		}
	}
	all := listed(t, dir, ".")
	contains(all, "b.yml", true)
	contains(all, "dir/sub/b.yml", true)
	contains(all, "dir/sub/a.yaml", true)
	contains(all, "other/x.yaml", false)

	contains(listed(t, dir, "other"), "x.yaml", true)
	write(t, dir, "dir/.gitignore", "")
	contains(listed(t, dir, "dir/sub"), "a.yaml", true) // no repository: what is above does not count
	if err := os.Mkdir(filepath.Join(dir, ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	contains(listed(t, dir, "dir/sub"), "a.yaml", false)
}

// TestTooLarge shows that an ignore file which cannot be read whole is a fault and not an empty one.
func TestTooLarge(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, ".gitignore", strings.Repeat("a\n", maxFile))
	if _, err := Open(dir); err == nil {
		t.Error("Open of a folder with 2 MiB of patterns gave no error")
	}
}

// TestStarsInAName holds stars that do not stand alone to gitignore(5), "other consecutive asterisks are considered regular
// asterisks"; what git does with them differs from build to build.
func TestStarsInAName(t *testing.T) {
	p := parse([]byte("d**/a.yaml"))[0]
	if !p.matches("dir/a.yaml", "a.yaml", false) || p.matches("dir/sub/a.yaml", "a.yaml", false) {
		t.Error("d**/a.yaml does not match dir/a.yaml alone")
	}
}

// FuzzPattern shows that no line breaks the parser, and that what it makes can be asked.
func FuzzPattern(f *testing.F) {
	for _, files := range cases {
		for _, file := range files {
			f.Add([]byte(file), "dir/a.yaml")
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, path string) {
		lines := bytes.Count(text, []byte("\n")) + 1
		list := parse(text)
		if len(list) > lines {
			t.Errorf("%d patterns of %d lines", len(list), lines)
		}
		for _, p := range list {
			p.matches(path, filepath.Base(path), true)
		}
	})
}

// listed walks a folder and lists what is not passed over.
func listed(t *testing.T, dir, sub string) []string {
	t.Helper()
	root, err := Open(filepath.Join(dir, sub))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	var walk func(f *Folder, at string)
	walk = func(f *Folder, at string) {
		entries, err := os.ReadDir(filepath.Join(dir, sub, at))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := filepath.Join(at, e.Name())
			switch {
			case e.Name() == ".git" || f.Passes(e.Name(), e.IsDir()):
			case e.IsDir():
				inner, err := f.Enter(e.Name())
				if err != nil {
					t.Fatal(err)
				}
				walk(inner, name)
			default:
				out = append(out, name)
			}
		}
	}
	walk(root, "")
	slices.Sort(out)
	return out
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}
