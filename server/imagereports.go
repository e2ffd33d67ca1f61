package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ringfence.dev/ringfence/image"
	reports "ringfence.dev/ringfence/image/scanner"
	"ringfence.dev/ringfence/internal/durable"
)

const (
	// maxReport is 512 MiB of one report as it is sent; packed it may unpack to twice that.
	maxReport = 512 << 20
	// maxReports and maxReportBytes bound the folder: 100,000 digests in 20 GiB.
	maxReports, maxReportBytes = 100_000, 20 << 30
	// reportWithin is how long one may take to come in and be read.
	reportWithin = 10 * time.Minute
)

// reportLimits bound what is read of one report here: some 160 MB of memory, where image report takes a gigabyte.
func reportLimits() reports.Limits {
	return reports.Limits{Bytes: 2 * maxReport, Vulnerabilities: 100_000, Kept: 32 << 20, Nodes: 200_000, Packed: 64 << 20}
}

// imageReports are the reports that pipelines send in, in a folder, each below whoever sent it. Nothing is judged here.
type imageReports struct {
	dir    string
	most   int64 // bytes of one, as it is sent
	limits reports.Limits
	turn   chan struct{} // one is read at a time
	known  func(*http.Request) (sender string, ok bool)
	failed func(sender string, err error)
	taken  func() // is told of each that is kept

	// Only who has the turn reads and writes these: what the folder held when it was counted, and what was added since.
	counted time.Time
	count   int
	size    int64
}

// openReports makes what keeps reports, where there is a folder for them.
func (s *Server) openReports() {
	if s.cfg.ImageReports != "" {
		s.reports = &imageReports{dir: s.cfg.ImageReports, most: maxReport, limits: reportLimits(), turn: make(chan struct{}, 1), known: s.sender, failed: func(sender string, err error) {
			s.log.Error("an image report is not kept", "sender", sender, "err", err)
		}, taken: s.verdicts.wake}
	}
}

// imageReports is the door of reports; nil where there is no folder for them.
func (s *Server) imageReports() http.Handler {
	if s.reports == nil {
		return nil
	}
	taken := s.taken("image-report", s.reports)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := http.NewResponseController(w) // half a gigabyte takes longer than what else comes in
		if err := errors.Join(to.SetReadDeadline(time.Now().Add(reportWithin)), to.SetWriteDeadline(time.Now().Add(reportWithin))); err != nil {
			s.log.Warn("an image report has little time", "err", err)
		}
		taken.ServeHTTP(w, r)
	})
}

// The answer to a report. Fields are only added.
type (
	reportAnswer struct {
		ID     string        `json:"id,omitempty"` // the digest of what was sent
		Images []reportImage `json:"images,omitempty"`
		Error  string        `json:"error,omitempty"`
	}
	reportImage struct {
		Digests         []string `json:"digests"` // none: it counts as not scanned
		Scans           int      `json:"scans"`
		Vulnerabilities int      `json:"vulnerabilities"`
	}
)

// errFull says that the folder holds as much as it may.
var errFull = fmt.Errorf("%d reports or %d GiB are kept; want old ones removed", maxReports, maxReportBytes>>30)

// ServeHTTP answers POST /images/reports: 200 when the report was read whole and is on the disk. The same report of the same pipeline is kept
// once.
func (d *imageReports) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := func(code int, a reportAnswer) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(a) // the caller has gone; there is nobody to tell
	}
	sender, ok := d.known(r)
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="ringfence image reports"`)
		answer(http.StatusUnauthorized, reportAnswer{Error: "want a token of a pipeline"})
		return
	}
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	default:
		w.Header().Set("Retry-After", "5")
		answer(http.StatusTooManyRequests, reportAnswer{Error: "another report is read now; send it again"})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), reportWithin)
	defer cancel()
	id, facts, err := d.take(ctx, sender, http.MaxBytesReader(w, r.Body, d.most))
	var kept *fs.PathError
	var named *os.LinkError
	large := (*http.MaxBytesError)(nil)
	switch {
	case err == nil:
		a := reportAnswer{ID: id}
		for _, f := range facts {
			one := reportImage{Digests: append([]string{}, f.Digests...), Scans: len(f.Scans)}
			for _, s := range f.Scans {
				one.Vulnerabilities += len(s.Vulnerabilities)
			}
			a.Images = append(a.Images, one)
		}
		d.taken()
		answer(http.StatusOK, a)
	case errors.As(err, &large):
		answer(http.StatusRequestEntityTooLarge, reportAnswer{Error: fmt.Sprintf("want at most %d bytes", d.most)})
	case errors.Is(err, errFull):
		d.failed(sender, err)
		answer(http.StatusInsufficientStorage, reportAnswer{Error: err.Error()})
	case errors.As(err, &kept), errors.As(err, &named):
		d.failed(sender, err)
		w.Header().Set("Retry-After", "30")
		answer(http.StatusServiceUnavailable, reportAnswer{Error: "it cannot be kept now; send it again"})
	default:
		answer(http.StatusBadRequest, reportAnswer{Error: image.Brief(err.Error())})
	}
}

// take keeps a report that can be read whole. An error of the disk is an fs.PathError or an os.LinkError; any other is the report's.
func (d *imageReports) take(ctx context.Context, sender string, body io.Reader) (id string, facts []image.Facts, err error) {
	if err := d.room(); err != nil {
		return "", nil, err
	}
	part, err := os.CreateTemp(d.dir, partPrefix+"*")
	if err != nil {
		return "", nil, err
	}
	defer os.Remove(part.Name()) // nothing is there once it has its name
	defer part.Close()
	sum := sha256.New()
	size, err := io.Copy(part, io.TeeReader(body, sum))
	if err != nil {
		return "", nil, err
	}
	if _, err := part.Seek(0, io.SeekStart); err != nil {
		return "", nil, err
	}
	if facts, err = reports.ReadWithin(ctx, "the report", part, d.limits); err != nil {
		return "", nil, err
	}
	if len(facts) == 0 {
		return "", nil, errors.New("the report says nothing of an image")
	}
	folder := filepath.Join(d.dir, url.PathEscape(sender)) // no name of a pipeline begins with a dot
	digest := hex.EncodeToString(sum.Sum(nil))
	if err := errors.Join(part.Sync(), os.MkdirAll(folder, 0o700)); err != nil {
		return "", nil, err
	}
	if err := os.Rename(part.Name(), filepath.Join(folder, digest+".report")); err != nil {
		return "", nil, err
	}
	d.count, d.size = d.count+1, d.size+size
	return "sha256:" + digest, facts, durable.SyncFolder(folder)
}

// partPrefix begins the name of a report that is being read.
const partPrefix = ".part-"

// room is nil where another report finds room. What the folder holds is counted at most once a minute, while there is room: others
// may remove what is in it. Counting removes what a process that was killed had begun: one is read at a time, and this one not yet.
func (d *imageReports) room() error {
	if time.Since(d.counted) < time.Minute && d.count < maxReports && d.size < maxReportBytes {
		return nil
	}
	n, size := 0, int64(0)
	err := filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if strings.HasPrefix(e.Name(), partPrefix) {
			return os.Remove(path)
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			return nil
		}
		if err == nil {
			n, size = n+1, size+info.Size()
		}
		return err
	})
	if err != nil {
		return err
	}
	d.counted, d.count, d.size = time.Now(), n, size
	if n >= maxReports || size >= maxReportBytes {
		return errFull
	}
	return nil
}
