package server

import (
	ctrl "sigs.k8s.io/controller-runtime"

	"ringfence.dev/ringfence/tenant"
)

// addCounts has the leader say in the status of each Tenant how many findings are open there.
func (s *Server) addCounts(mgr ctrl.Manager) error {
	return mgr.Add(&tenant.Counter{Client: mgr.GetClient(), Scanned: s.scannedSpaces, Every: s.cfg.CountEvery, Now: s.cfg.Now, Log: s.log})
}

// scannedSpaces is what the background scan knows of each namespace; false where that is not known yet.
func (s *Server) scannedSpaces() (tenant.Scanned, bool) {
	if s.cfg.NoScan {
		return tenant.Scanned{Off: true}, true
	}
	running := s.scan.Load()
	if running == nil {
		return tenant.Scanned{}, false
	}
	state := running.State()
	out := tenant.Scanned{Started: state.Started, Whole: !state.Whole.IsZero(), Unread: state.Unread, Namespaces: map[string]tenant.Stock{}}
	for namespace, in := range running.Spaces(s.severity) {
		out.Namespaces[namespace] = tenant.Stock{Open: in.Open, Waived: in.Waived, Unjudged: in.Unjudged, Waiting: in.Waiting}
	}
	return out, true
}
