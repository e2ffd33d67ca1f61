package image_test

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"ringfence.dev/ringfence/image"
)

const third = "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

// TestMerge: whichever digests lead to an image, and in whichever order its reports come, there is one record.
func TestMerge(t *testing.T) {
	parts := []image.Facts{
		{Digests: []string{digest}, Repositories: []string{"a"}, Scans: []image.Scan{{Scanner: "trivy", At: now}}},
		{Digests: []string{third}, Repositories: []string{"b"}, Scans: []image.Scan{{Scanner: "grype", At: now}}},
		{Digests: []string{config, digest}, Scans: []image.Scan{{Scanner: "trivy", At: now}}},
		{Digests: []string{third, config}},
		{Repositories: []string{"nameless"}, Scans: []image.Scan{{Scanner: "snyk", At: now}}},
	}
	for range 200 {
		rand.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		all := image.Merge(parts)
		if len(all) != 2 || len(all[0].Digests) != 0 || !slices.Equal(all[1].Digests, []string{digest, config, third}) || !slices.Equal(all[1].Repositories, []string{"a", "b"}) || len(all[1].Scans) != 2 {
			t.Fatalf("%+v of %+v", all, parts)
		}
	}
	base, other := image.Built{System: "debian 12.5", Layers: []string{digest, third}}, image.Built{Base: "r/base", Layers: []string{digest, config}}
	whole := image.Built{System: "debian 12.5", Base: "r/base", Layers: []string{digest, third, config}}
	all := image.Merge([]image.Facts{{Digests: []string{digest}, Built: base}, {Digests: []string{digest}, Built: other}})
	if len(all) != 1 || !reflect.DeepEqual(all[0].Built, whole) {
		t.Errorf("two reports on what it is made of: %+v; want %+v", all, whole)
	}
	if image.Merge(nil) != nil {
		t.Error("of nothing there is something")
	}
}

// TestMergePlatforms: what a scanner found in one platform of an index is not forgotten when it looks at another platform later, nor by a report
// on the index alone; it is when it looks at that platform again.
func TestMergePlatforms(t *testing.T) {
	bad := []image.Vulnerability{{ID: "CVE-2026-1", Severity: 5, Package: "openssl", Published: now.Add(-90 * day), PublishedBy: "nvd"}}
	report := func(hours int, found []image.Vulnerability, digests ...string) image.Facts {
		return image.Facts{Digests: digests, Scans: []image.Scan{{Scanner: "trivy", At: now.Add(time.Duration(hours-24) * time.Hour), Vulnerabilities: found}}}
	}
	vex := func(digests ...string) image.Facts {
		return image.Facts{Digests: digests, Scans: []image.Scan{{Scanner: "openvex", Vulnerabilities: []image.Vulnerability{{ID: bad[0].ID, NotAffected: "not in the path of execution"}}}}}
	}
	arm, amd := numbered(1), numbered(2)
	for what, c := range map[string]struct {
		reports []image.Facts
		want    image.Outcome
	}{
		"excused on the other platform": {[]image.Facts{report(1, bad, digest, arm), report(1, nil, digest, amd), vex(digest, amd)}, image.Deny},
		"excused on this platform":      {[]image.Facts{report(1, bad, digest, arm), report(1, nil, digest, amd), vex(digest, arm)}, image.Allow},
		"excused on all":                {[]image.Facts{report(1, bad, digest, arm), report(1, nil, digest, amd), vex(digest)}, image.Allow},
		"the other platform later":      {[]image.Facts{report(1, bad, digest, arm), report(2, nil, digest, amd)}, image.Deny},
		"both at once":                  {[]image.Facts{report(1, bad, digest, arm), report(1, nil, digest, amd)}, image.Deny},
		"the same again":                {[]image.Facts{report(1, bad, digest, arm), report(2, nil, digest, amd), report(3, nil, digest, arm)}, image.Allow},
		"the same, known by more":       {[]image.Facts{report(1, bad, digest, arm), report(3, nil, third, digest, arm)}, image.Allow},
		"the index alone":               {[]image.Facts{report(1, bad, digest), report(2, nil, digest, amd)}, image.Allow},
		"a scan of the same and others": {[]image.Facts{report(1, bad, digest, arm), report(2, nil, digest, amd), report(1, bad, digest, amd)}, image.Deny},
	} {
		for range 20 {
			rand.Shuffle(len(c.reports), func(i, j int) { c.reports[i], c.reports[j] = c.reports[j], c.reports[i] })
			all := image.Merge(c.reports)
			if len(all) != 1 {
				t.Fatalf("%s: %d images", what, len(all))
			}
			if got := image.Judge(all[0], bank, nil, now).Outcome(); got != c.want {
				t.Fatalf("%s: %s, want %s", what, got, c.want)
			}
		}
	}
}

// TestKnow: the index says the same as the verdict it was made of, at every second around its ends.
func TestKnow(t *testing.T) {
	for name, f := range map[string]image.Facts{
		"clean": scanned(1), "warned": scanned(1, published("CVE-1", 29*day), published("CVE-2", 3*day)), "refused": scanned(1, published("CVE-1", 31*day)), "old": scanned(31), "unknown": {},
	} {
		a := image.NewIndex([]image.Admitted{image.Judge(f, bank, nil, now).Admits(digest)})
		k, _ := a.Find(digest)
		for seconds := range int64(40 * 24) {
			for _, at := range []time.Time{now.Add(time.Duration(seconds) * time.Hour), now.Add(time.Duration(seconds)*time.Hour + time.Second)} {
				v := image.Judge(f, bank, nil, at)
				var denied [2]bool
				for i, reasons := range [][]image.Reason{v.Scan, v.Vulnerabilities} {
					denied[i] = slices.ContainsFunc(reasons, func(r image.Reason) bool { return r.Outcome == image.Deny })
				}
				if got := [2]bool{at.After(k.ScannedUntil), at.After(k.CleanUntil)}; got != denied {
					t.Fatalf("%s at %s: the index refuses %v, the verdict %v", name, at, got, denied)
				}
			}
		}
	}
}

func numbered(n int) string {
	var b [32]byte
	binary.LittleEndian.PutUint64(b[3:], uint64(n)*0x9e3779b97f4a7c15)
	return "sha256:" + hex.EncodeToString(b[:])
}

// TestIndexSigned: facts and signatures make an index in memory that grows with their number, not with the product of both.
func TestIndexSigned(t *testing.T) {
	all, signed := make([]image.Admitted, 10_000), make([]image.Signed, 1000)
	for i := range all {
		all[i] = image.Admitted{Digest: numbered(i), ScannedUntil: now}
	}
	for i := range signed {
		signed[i] = image.Signed{Digest: numbered(i), Trust: "bank-0123456789ab", Until: now}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	x := image.NewIndex(all, signed...)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 100<<20 {
		t.Errorf("%d MiB for %d facts and %d signatures", got>>20, x.Len(), len(signed))
	}
	if x.Len() != len(all) || len(x.Signed(numbered(7))) != 1 {
		t.Errorf("%d facts, %v", x.Len(), x.Signed(numbered(7)))
	}
}

// TestIndexRules: what is known under one rule says nothing under another, signatures count under all, and no file makes an index of rules without
// number.
func TestIndexRules(t *testing.T) {
	own, strict := image.Admitted{Digest: numbered(1), ScannedUntil: now, CleanUntil: image.Never()}, image.Admitted{Digest: numbered(1), Rule: "strict", ScannedUntil: now}
	x := image.NewIndex([]image.Admitted{own, strict, {Digest: numbered(2), Rule: "strict"}, {Digest: numbered(1), Rule: "strict", CleanUntil: now}}, image.Signed{Digest: numbered(3), Trust: "t", Until: now})
	for rule, want := range map[string]image.Admitted{"": own, "strict": strict} {
		if got, known := x.Under(rule).Find(numbered(1)); !known || got.Until() != want.Until() || !got.ScannedUntil.Equal(want.ScannedUntil) || got.Rule != rule {
			t.Errorf("under %q: %+v, want %+v", rule, got, want)
		}
		if len(x.Under(rule).Signed(numbered(3))) != 1 {
			t.Errorf("under %q no signature is known", rule)
		}
	}
	if _, known := x.Find(numbered(2)); known || x.Len() != 2 || x.Under("strict").Len() != 3 {
		t.Errorf("%d are known, and %d under strict; want 2 and 3", x.Len(), x.Under("strict").Len())
	}
	if x.Under("other") != nil {
		t.Error("something is known under a rule that nobody judged by")
	}
	var many []image.Admitted
	for i := range 100_000 {
		many = append(many, image.Admitted{Digest: numbered(i), Rule: "r" + strconv.Itoa(i)})
	}
	x = image.NewIndex(many)
	if x.Under("r99") == nil || x.Under("r100") != nil {
		t.Error("want the first hundred rules, and no more")
	}
}

// BenchmarkIndex: a million digests; bytes of index each, and a lookup with its comparison, beside a map of strings.
func BenchmarkIndex(b *testing.B) {
	const n = 1_000_000
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var before uint64
	var began time.Time
	all := make([]image.Admitted, n)
	for i := range all {
		all[i] = image.Admitted{Digest: numbered(i), ScannedUntil: now.Add(time.Duration(i) * time.Second), CleanUntil: image.Never(), Note: "CVE-" + strconv.Itoa(i%1000)}
	}
	before, began = heap(), time.Now()
	x := image.NewIndex(all)
	built := time.Since(began)
	size := float64(heap()-before) / n
	asked := make([]string, 4096)
	for i := range asked {
		asked[i] = numbered(rand.IntN(2 * n))
	}
	took := make([]time.Duration, 0, 1<<20)
	b.ResetTimer()
	for i := range b.N {
		start := time.Now()
		x.Find(asked[i%len(asked)])
		if len(took) < cap(took) {
			took = append(took, time.Since(start))
		}
	}
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(size, "B/digest")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
	b.ReportMetric(built.Seconds(), "s-to-build")
	runtime.KeepAlive(x)
	runtime.KeepAlive(all)
}
