package local

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/samples"
)

// ImageFactsPath is where the control plane of a platform whose state is in dir finds what is known of images.
func ImageFactsPath(dir string) string { return filepath.Join(dir, "images", "facts") }

// forecastDays is how far the story looks ahead.
const forecastDays = 14

// sampleImages are the images of the sample bank: what its scanner reports of them, and what the world has published.
type sampleImages struct {
	dir     string
	reports []string
	soon    []change // what the forecast says, in the order of time
}

// change is an image that becomes refused, as `ringfence image forecast -o json` says it.
type change struct {
	At           time.Time
	Digests      []string
	Repositories []string
	Why          string
	Instead      []string
}

// examine writes the sample reports and advisories as of now, and has the commands of a bank's cron job read them: the facts are
// then where the control plane looks for them. What was there of an earlier run is replaced.
func examine(ctx context.Context, o Options, now time.Time) (*sampleImages, error) {
	p := &sampleImages{dir: filepath.Join(o.Dir, "images")}
	if err := os.MkdirAll(ImageFactsPath(o.Dir), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the image facts: %w", err)
	}
	if err := p.write(now); err != nil {
		return nil, fmt.Errorf("write the sample bank's reports on images: %w", err)
	}
	judging := slices.Concat(p.reports, []string{"--advisories", p.advisories()})
	for _, args := range [][]string{
		{"advisories", "import", filepath.Join(p.dir, "mirror"), "--out", p.advisories()},
		slices.Concat([]string{"verdict"}, judging, []string{"--admission", filepath.Join(ImageFactsPath(o.Dir), "images.json")}),
	} {
		if _, err := o.Image(ctx, args...); err != nil {
			return nil, err
		}
	}
	text, err := o.Image(ctx, slices.Concat([]string{"forecast"}, judging, []string{"--days", fmt.Sprint(forecastDays), "-o", "json"})...)
	if err != nil {
		return nil, err
	}
	var forecast struct{ Changes []change }
	if err := json.Unmarshal([]byte(text), &forecast); err != nil {
		return nil, fmt.Errorf("read the forecast: %w", err)
	}
	p.soon = forecast.Changes
	return p, nil
}

func (p *sampleImages) advisories() string { return filepath.Join(p.dir, "advisories.gz") }

// write writes the files of samples/images, with the dates that they have today.
func (p *sampleImages) write(now time.Time) error {
	day := now.UTC().Truncate(24 * time.Hour)
	dates := template.FuncMap{"daysAgo": func(n int) string { return day.AddDate(0, 0, -n).Format(time.RFC3339) }}
	return fs.WalkDir(samples.FS, "images", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(p.dir, filepath.FromSlash(strings.TrimSuffix(strings.TrimPrefix(name, "images"), ".tmpl")))
		if e.IsDir() {
			return os.MkdirAll(to, 0o700)
		}
		text, err := fs.ReadFile(samples.FS, name)
		if err != nil {
			return err
		}
		form, err := template.New(name).Funcs(dates).Parse(string(text))
		if err != nil {
			return err
		}
		var dated bytes.Buffer
		if err := form.Execute(&dated, nil); err != nil {
			return err
		}
		if filepath.Base(filepath.Dir(to)) == "reports" {
			p.reports = append(p.reports, to)
		}
		return os.WriteFile(to, dated.Bytes(), 0o600)
	})
}

// warn creates the sample that has a severe vulnerability which was published lately. It must run, and the API server must warn of the
// day on which the forecast has it refused. A Guard of an earlier run may have other dates until it is written anew.
func (s *story) warn(ctx context.Context, c client.Client, w *warnings) error {
	objects, head, err := sample("warned.yaml")
	if err != nil {
		return err
	}
	o, name := objects[0], strings.ToLower(objects[0].GetKind())+" "+objects[0].GetNamespace()+"/"+objects[0].GetName()
	at := slices.IndexFunc(s.images.soon, func(c change) bool { return slices.Contains(c.Digests, digestOf(o)) })
	if at < 0 {
		s.wrong("the forecast does not name the image of %s; want it refused within %d days", name, forecastDays)
		return nil
	}
	refused := s.images.soon[at].At.UTC().Format(time.RFC3339)
	var lines []string
	err = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, takeUp, true, func(ctx context.Context) (bool, error) {
		w.take()
		err = c.Create(ctx, o.DeepCopy())
		if apierrors.IsAlreadyExists(err) { // of an earlier run; it was judged all the same
			err = nil
		}
		lines = refusals(err, w.take())
		return err == nil && len(unnamed(lines, head.want)) == 0 && strings.Contains(strings.Join(lines, "\n"), refused), nil
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		s.wrong("%s is not admitted with a warning of %s that names %s: %s", name, strings.Join(head.want, ", "), refused, strings.Join(lines, "; "))
		return nil
	}
	s.say("warned: %s, whose image is refused from %s on. %s", name, refused, head.text)
	for _, line := range lines {
		s.detail(line)
	}
	return nil
}

// digestOf is the digest of the image of a Pod's first container, "" where there is none.
func digestOf(pod *unstructured.Unstructured) string {
	containers, _, _ := unstructured.NestedSlice(pod.Object, "spec", "containers")
	if len(containers) == 0 {
		return ""
	}
	first, _ := containers[0].(map[string]any)
	reference, _, _ := unstructured.NestedString(first, "image")
	return image.DigestOf(reference)
}

// foresee tells which images will be refused soon.
func (s *story) foresee() {
	s.say("forecast: %d images become undeployable within %d days", len(s.images.soon), forecastDays)
	for _, c := range s.images.soon {
		s.detail(fmt.Sprintf("%s  %s %s", c.At.UTC().Format(time.RFC3339), strings.Join(c.Repositories, ", "), strings.Join(c.Digests, ", ")))
		s.detail("  " + c.Why)
		if len(c.Instead) > 0 {
			s.detail("  may run then: " + strings.Join(c.Instead, ", "))
		}
	}
	s.detail(s.images.command("forecast"))
}

// command is what to type to ask the same.
func (p *sampleImages) command(verb string) string {
	return fmt.Sprintf("ringfence image %s %s --advisories %s", verb, filepath.Join(p.dir, "reports", "*.json"), p.advisories())
}
