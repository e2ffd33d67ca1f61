package scanner

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ringfence.dev/ringfence/image"
)

// subject gathers by which names a report calls an image.
type subject struct {
	digests, repositories []string
	pinned                []string // repository@digest, as somebody asked for it
	listed                []string // repository@digest, as a registry answered
	bad                   error    // about a digest that is none; it matters where no other names the image
	built                 image.Built
}

// maxLayers is more than any builder makes: 127 are the most of overlayfs. What lies above is not told of.
const maxLayers = 256

// layer adds a layer of the image. What is no digest is none.
func (s *subject) layer(digest string) {
	if d, err := asDigest(digest); err == nil && d != "" && len(s.built.Layers) < maxLayers {
		s.built.Layers = append(s.built.Layers, d)
	}
}

// base adds what the labels of an image say it was built on.
func (s *subject) base(labels *node) {
	const annotation = "org.opencontainers.image.base."
	s.built.Base = labels.str(annotation + "name")
	if d, err := asDigest(labels.str(annotation + "digest")); err == nil && d != "" {
		s.built.Base = strings.TrimPrefix(s.built.Base+"@"+d, "@")
	}
}

// system adds the distribution and its version.
func (s *subject) system(name, version string) {
	s.built.System = cmp.Or(s.built.System, strings.TrimSpace(name+" "+version))
}

// digest adds one digest, which reports write with or without "sha256:". One that is none names nothing, and the report is refused
// where no other digest names the image.
func (s *subject) digest(n *node, key string) {
	d, err := asDigest(n.str(key))
	if s.bad == nil {
		s.bad = n.about(key, err)
	}
	s.add(d)
}

// add adds a digest that was checked, "" being none.
func (s *subject) add(digest string) {
	if digest != "" && len(s.digests) <= maxNames && !slices.Contains(s.digests, digest) {
		s.digests = append(s.digests, digest)
	}
}

// reference adds repository:tag@digest, of which each part may be absent.
func (s *subject) reference(ref string, pinned bool) error {
	ref = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(ref), "docker://"), "docker-pullable://")
	name, digest, found := strings.Cut(ref, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	if found {
		d, err := asDigest(digest)
		if err != nil {
			return err
		}
		s.add(d)
		if pinned && len(s.pinned) <= maxNames {
			s.pinned = append(s.pinned, name+"@"+d)
		} else if len(s.listed) <= maxNames {
			s.listed = append(s.listed, name+"@"+d)
		}
	}
	s.repository(name)
	return nil
}

func (s *subject) repository(name string) {
	if name != "" && len(s.repositories) <= maxNames && !slices.Contains(s.repositories, name) {
		s.repositories = append(s.repositories, name)
	}
}

// references adds every element of a list below key.
func (s *subject) references(n *node, key string) error {
	for _, ref := range n.strs(key) {
		if err := s.reference(ref, false); err != nil {
			return n.about(key, err)
		}
	}
	return nil
}

// facts is the image with one scan. It refuses an image that is asked for by one digest and is another by the report's own
// list for the same repository.
func (s *subject) facts(scan image.Scan) (image.Facts, error) {
	for _, asked := range s.pinned {
		name, _, _ := strings.Cut(asked, "@")
		same := slices.DeleteFunc(slices.Clone(s.listed), func(l string) bool { return !strings.HasPrefix(l, name+"@") })
		if len(same) > 0 && !slices.Contains(same, asked) {
			return image.Facts{}, fmt.Errorf("the report is of %s and lists %s: two digests that conflict", cut(asked), cut(same[0]))
		}
	}
	if s.bad != nil && len(s.digests) == 0 {
		return image.Facts{}, s.bad
	}
	if len(s.digests) > maxNames || len(s.repositories) > maxNames {
		return image.Facts{}, fmt.Errorf("more than %d digests or repositories of one image", maxNames)
	}
	f := image.Facts{Digests: s.digests, Repositories: s.repositories, Built: s.built}
	if scan.Scanner != "" {
		f.Scans = []image.Scan{scan}
	}
	return f, nil
}

// maxNames is 1,000: a base image is known in hundreds of repositories. Lists that are searched grow to one more and no further.
const maxNames = 1000

// asDigest is "sha256:<64 hex digits>" of the same with or without its first part; "" is none.
func asDigest(s string) (string, error) {
	hex := strings.TrimPrefix(strings.ToLower(strings.TrimSpace(s)), "sha256:")
	if hex == "" && s == "" {
		return "", nil
	}
	if len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%q is no digest; want sha256: and 64 hexadecimal digits", cut(s))
	}
	return "sha256:" + hex, nil
}

// take adds what is known of one image.
func (p *reading) take(s *subject, scan image.Scan) error {
	f, err := s.facts(scan)
	if err != nil {
		return err
	}
	for _, text := range []*string{&f.Built.System, &f.Built.Base} {
		if *text, err = p.keep(*text); err != nil {
			return err
		}
	}
	for i := range f.Built.Layers {
		if f.Built.Layers[i], err = p.keep(f.Built.Layers[i]); err != nil {
			return err
		}
	}
	if p.facts = append(p.facts, f); len(p.facts) > maxImages {
		return fmt.Errorf("more than %d images in one report", maxImages)
	}
	return nil
}

// maxImages is 100,000 in one report.
const maxImages = 100_000

// merge makes one of facts of the same digests and scanner: a report on a cluster has one part for each workload. Of two times the
// older counts, and a vulnerability of the same package stands once.
func merge(facts []image.Facts) (out []image.Facts) {
	at := map[string]*merged{}
	for _, f := range facts {
		slices.Sort(f.Digests)
		if len(f.Digests) == 0 || len(f.Scans) == 0 {
			out = append(out, f)
			continue
		}
		key := strings.Join(f.Digests, " ") + " " + f.Scans[0].Scanner
		if m, known := at[key]; known {
			m.join(&out[m.at], f)
			continue
		}
		at[key] = &merged{at: len(out)}
		out = append(out, f)
	}
	return out
}

// merged is an image of which there may be more parts.
type merged struct {
	at   int
	have map[[3]string]bool // its vulnerabilities, once there is a second part
}

func (m *merged) join(to *image.Facts, f image.Facts) {
	for _, r := range f.Repositories {
		if len(to.Repositories) < maxNames && !slices.Contains(to.Repositories, r) {
			to.Repositories = append(to.Repositories, r)
		}
	}
	scan := &to.Scans[0]
	if m.have == nil {
		m.have = make(map[[3]string]bool, len(scan.Vulnerabilities))
		for _, v := range scan.Vulnerabilities {
			m.have[[3]string{v.ID, v.Package, v.Version}] = true
		}
	}
	for _, v := range f.Scans[0].Vulnerabilities {
		if key := [3]string{v.ID, v.Package, v.Version}; !m.have[key] {
			m.have[key] = true
			scan.Vulnerabilities = append(scan.Vulnerabilities, v)
		}
	}
	scan.At = older(scan.At, f.Scans[0].At)
	scan.Database = older(scan.Database, f.Scans[0].Database)
	scan.Version = cmp.Or(scan.Version, f.Scans[0].Version)
}

// older is the earlier of two times; one that is not known makes both unknown.
func older(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// published sets when the world learnt of a vulnerability, from a field that means this and nothing else.
func published(v *image.Vulnerability, n *node, source, key string) error {
	t, err := when(n.str(key))
	if err != nil {
		return n.about(key, err)
	}
	date(v, t, source+":"+key)
	return nil
}

func date(v *image.Vulnerability, t time.Time, by string) {
	if !t.IsZero() {
		v.Published, v.PublishedBy = t, by
	}
}

// time reads a time below key.
func (n *node) time(key string) (time.Time, error) {
	t, err := when(n.str(key))
	return t, n.about(key, err)
}

// aliases are names without the one that is the ID, each once.
func aliases(id string, names ...string) (out []string) {
	for _, name := range names {
		if len(out) > maxAliases {
			break // p.vulnerability refuses it
		}
		if name = strings.TrimSpace(name); name != "" && name != "-" && name != id && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// errUnnamed says that a vulnerability cannot be told from others.
var errUnnamed = errors.New("a vulnerability without an identifier")
