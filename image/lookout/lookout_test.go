package lookout_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ringfence.dev/ringfence/image"
	"ringfence.dev/ringfence/image/lookout"
)

const (
	rule = "bank-5f2a90c1d3e4"
	age  = 8 * time.Hour
)

func digest(n int) string { return fmt.Sprintf("sha256:%064x", n) }

// of is an image that runs.
func of(host string, n int) lookout.Image {
	return lookout.Image{Reference: host + "/payments/api@" + digest(n), Host: host, Trust: rule, Age: age, Runs: true}
}

// bench is a Lookout, what it looks after, and what it did.
type bench struct {
	mu     sync.Mutex
	images []lookout.Image
	allow  func(lookout.Place) bool // of what was refused
	says   func(reference string) ([]image.Signed, error)
	others map[string][]image.Signed
	asked  map[string][]time.Time
	kept   [][]image.Signed
	broken error // of the disk
	most   int   // asked at once
	now    int
	l      *lookout.Lookout
}

// signed is an answer that says who signed.
func signed(reference string) ([]image.Signed, error) {
	return []image.Signed{{Digest: image.DigestOf(reference), Trust: rule, Until: time.Now().UTC().Add(age), By: "key release"}}, nil
}

func lacking(reference string) ([]image.Signed, error) {
	return []image.Signed{{Digest: image.DigestOf(reference), Trust: rule, By: "signed by 0 who count, want 1"}}, nil
}

func (b *bench) run(t *testing.T, kept ...image.Signed) {
	b.asked = map[string][]time.Time{}
	b.l = lookout.New(lookout.Config{
		Look: func(_ context.Context, refused []lookout.Place) (lookout.Sight, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			images := append([]lookout.Image{}, b.images...)
			for _, p := range refused {
				if b.allow == nil || b.allow(p) {
					host, _, _ := strings.Cut(p.Reference, "/")
					images = append(images, lookout.Image{Reference: p.Reference, Host: host, Trust: rule, Age: age})
				}
			}
			return lookout.Sight{Images: images, Ask: b.ask}, nil
		},
		Known: func(digest string) []image.Signed { return b.others[digest] },
		Keep: func(all []image.Signed) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.broken == nil {
				b.kept = append(b.kept, all)
			}
			return b.broken
		},
		Kept: kept, Now: time.Now, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func (b *bench) ask(ctx context.Context, reference string, now time.Time) ([]image.Signed, error) {
	b.mu.Lock()
	b.asked[reference] = append(b.asked[reference], now)
	b.now++
	b.most = max(b.most, b.now)
	says := b.says
	b.mu.Unlock()
	defer func() { b.mu.Lock(); b.now--; b.mu.Unlock() }()
	if says == nil { // hangs
		<-ctx.Done()
		return nil, ctx.Err()
	}
	time.Sleep(50 * time.Millisecond)
	return says(reference)
}

// after waits, and gives how often an image was asked about since the start and what was kept last.
func (b *bench) after(d time.Duration, of lookout.Image) (asked int, kept []image.Signed, writes int) {
	time.Sleep(d)
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.kept) > 0 {
		kept = b.kept[len(b.kept)-1]
	}
	return len(b.asked[of.Reference]), kept, len(b.kept)
}

func (b *bench) answer(says func(string) ([]image.Signed, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.says = says
}

// TestSigned: what runs is asked about once, written once, and again before the answer ends; nothing is written where nothing changed.
func TestSigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := of("r.example", 1)
		b := &bench{images: []lookout.Image{one}, says: signed}
		b.run(t)
		begun := time.Now()
		if asked, kept, writes := b.after(2*time.Second, one); asked != 1 || writes != 1 || len(kept) != 1 || kept[0].By != "key release" {
			t.Fatalf("asked %d times, %d writes, %v", asked, writes, kept)
		}
		if asked, _, writes := b.after(age/2-time.Hour, one); asked != 1 || writes != 1 {
			t.Errorf("before half of its time it was asked %d times, with %d writes", asked, writes)
		}
		if asked, kept, writes := b.after(age/4+time.Hour, one); asked != 2 || writes != 2 || !kept[0].Until.After(begun.Add(age)) {
			t.Errorf("after three quarters it was asked %d times, with %d writes: %v", asked, writes, kept)
		}
		b.mu.Lock()
		b.images = nil
		b.mu.Unlock()
		if asked, kept, _ := b.after(2*age, one); asked != 2 || len(kept) != 0 {
			t.Errorf("when it runs no more it was asked %d times, and is kept as %v", asked, kept)
		}
	})
}

// TestKnownElsewhere: what a pipeline wrote is not asked about again until it ends soon, and what was kept before a restart neither.
func TestKnownElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := of("r.example", 1), of("r.example", 2)
		until := time.Now().Add(age)
		b := &bench{images: []lookout.Image{one, two}, says: lacking, others: map[string][]image.Signed{digest(1): {{Digest: digest(1), Trust: rule, Until: until}}}}
		b.run(t, image.Signed{Digest: digest(2), Trust: rule, Until: until, By: "key release"})
		if asked, _, writes := b.after(age/2-time.Hour, one); asked != 0 || writes != 0 {
			t.Errorf("asked %d times, %d writes", asked, writes)
		}
		if asked, _, _ := b.after(0, two); asked != 0 {
			t.Errorf("asked %d times", asked)
		}
	})
}

// TestLacking: what lacks a signature is asked about seldom and ever more seldom, and is written once; when it is signed, that is written.
func TestLacking(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := of("r.example", 1)
		b := &bench{images: []lookout.Image{one}, says: lacking}
		b.run(t)
		if asked, kept, writes := b.after(24*time.Hour, one); asked < 20 || asked > 45 || writes != 1 || len(kept) != 1 || !kept[0].Until.IsZero() {
			t.Errorf("in a day it was asked %d times, with %d writes: %v", asked, writes, kept)
		}
		b.answer(signed)
		if _, kept, writes := b.after(2*time.Hour, one); writes != 2 || kept[0].Until.IsZero() {
			t.Errorf("%d writes: %v", writes, kept)
		}
	})
}

// TestRefused: what was refused is asked about at once. What lets it in is kept at once, what does not is not kept at all, and whoever signs
// and tries again waits seconds.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{says: lacking, allow: func(p lookout.Place) bool { return p.Namespace == "payments-dev" }}
		b.run(t)
		one, stranger := of("r.example", 1), of("stranger.example", 1)
		time.Sleep(time.Hour)
		b.l.Refused("payments-dev", one.Reference)
		b.l.Refused("elsewhere", stranger.Reference)
		if asked, _, writes := b.after(2*time.Second, one); asked != 1 || writes != 0 {
			t.Errorf("asked %d times, %d writes", asked, writes)
		}
		b.answer(signed)
		time.Sleep(8 * time.Second)
		b.l.Refused("payments-dev", one.Reference)
		if _, kept, writes := b.after(3*time.Second, one); writes != 1 || len(kept) != 1 || kept[0].Until.IsZero() {
			t.Errorf("%d writes: %v", writes, kept)
		}
		if asked, _, _ := b.after(0, stranger); asked != 0 {
			t.Errorf("a stranger's registry was asked %d times", asked)
		}
	})
}

// TestRefusedBounded: whoever is refused in a loop, of ever other images, has little asked and nothing kept, and others are not kept waiting.
func TestRefusedBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{says: lacking}
		b.run(t)
		for n := range 100_000 {
			b.l.Refused("hostile", of("r.example", 10+n%5000).Reference)
		}
		one := of("r.example", 1)
		b.l.Refused("payments-dev", one.Reference)
		if asked, kept, _ := b.after(10*time.Second, one); asked == 0 || len(kept) != 0 {
			t.Errorf("asked %d times about another's; kept %v", asked, kept)
		}
		for range 600 { // a minute of one image, ten times a second
			b.l.Refused("hostile", one.Reference)
			time.Sleep(100 * time.Millisecond)
		}
		if asked, _, _ := b.after(0, one); asked > 9 {
			t.Errorf("in a minute it was asked %d times", asked)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if len(b.asked) > 50 { // twenty at a time
			t.Errorf("%d images were asked about", len(b.asked))
		}
	})
}

// TestDown: a registry that answers nobody is tried ever more seldom, by one question, and the others are asked all the while; what is known
// stays. One image that gets no answer keeps no other waiting.
func TestDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down, well, broken := of("down.example", 1), of("well.example", 2), of("well.example", 3)
		images := []lookout.Image{down, well, broken}
		for n := range 50 {
			images = append(images, of("down.example", 100+n))
		}
		b := &bench{images: images, says: func(reference string) ([]image.Signed, error) {
			switch {
			case strings.HasPrefix(reference, "down."):
				return nil, fmt.Errorf("429: %w", lookout.ErrDown)
			case reference == broken.Reference:
				return nil, errors.New("it lies about its digest")
			}
			return signed(reference)
		}}
		b.run(t, image.Signed{Digest: digest(1), Trust: rule, Until: time.Now().Add(time.Hour), By: "key release"})
		_, kept, _ := b.after(50*time.Minute, well)
		b.mu.Lock()
		tries, once := 0, len(b.asked[well.Reference])
		for reference, all := range b.asked {
			if strings.HasPrefix(reference, "down.") {
				tries += len(all)
			}
		}
		vain := len(b.asked[broken.Reference])
		b.mu.Unlock()
		if tries < 5 || tries > 15 || once != 1 || vain < 3 || vain > 9 || len(kept) != 2 {
			t.Errorf("%d tries of the registry that is down, %d of the image that is well, %d of one that is not; kept %v", tries, once, vain, kept)
		}
		if s := b.l.Stats(); s.Down != 1 || s.Images["signed"] != 2 || s.Answers["none"] != tries+vain {
			t.Errorf("%+v", s)
		}
		b.answer(signed)
		if _, kept, _ = b.after(time.Hour, well); len(kept) != 53 || b.l.Stats().Down != 0 {
			t.Errorf("when it is back %d are kept", len(kept))
		}
	})
}

// TestHangs: registries that hang are asked by few at a time, and each image has its end.
func TestHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{}
		for n := range 20 {
			for i := range 5 {
				b.images = append(b.images, of(fmt.Sprintf("r%d.example", n), i))
			}
		}
		b.run(t)
		one := b.images[0]
		_, _, writes := b.after(10*time.Minute, one)
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.most > 4 || writes != 0 || len(b.asked) < 20 {
			t.Errorf("%d at once, %d writes, %d images were asked about", b.most, writes, len(b.asked))
		}
	})
}

// TestDisk: what could not be kept is kept when it can be.
func TestDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := of("r.example", 1)
		b := &bench{images: []lookout.Image{one}, says: signed, broken: errors.New("read-only file system")}
		b.run(t)
		if asked, _, writes := b.after(time.Minute, one); asked != 1 || writes != 0 {
			t.Errorf("asked %d times, %d writes", asked, writes)
		}
		b.mu.Lock()
		b.broken = nil
		b.mu.Unlock()
		if asked, _, writes := b.after(time.Minute, one); asked != 1 || writes != 1 {
			t.Errorf("asked %d times, %d writes", asked, writes)
		}
	})
}
