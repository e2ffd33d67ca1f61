package store

// standingOf says of what findings stand.
type standingOf struct{ subject, namespace int64 }

// stood is a finding that stands open.
type stood struct {
	control int64
	path    string
}

// stand opens and closes findings of a subject. A CREATE is judged whole, so what it does not list passes now; an UPDATE is
// judged by what is new in it, so what it does not list may still be there; what was deleted has no findings.
func (f *filling) stand(v envelope, of standingOf, d *decision, controls []int64) error {
	listed := map[stood]bool{}
	if d.operation != "DELETE" {
		for i, n := range d.notPassed {
			key := stood{controls[i], n.Path}
			if listed[key] {
				continue
			}
			listed[key] = true
			if err := f.open(v, of, d, key, i); err != nil {
				return err
			}
		}
	}
	if d.operation != "CREATE" && (d.operation != "DELETE" || d.refused) {
		return nil
	}
	gone, err := f.others(of.subject, listed)
	if err != nil {
		return err
	}
	for _, key := range gone {
		if err := f.exec(sqlClose, v.at, v.idx, of.subject, key.control, key.path); err != nil {
			return err
		}
		if err := f.exec(sqlCountStanding, key.control, of.namespace, -1); err != nil {
			return err
		}
	}
	return nil
}

// open opens a finding, or says of one that is open that it was seen again.
func (f *filling) open(v envelope, of standingOf, d *decision, key stood, i int) error {
	n := d.notPassed[i]
	again, err := f.changed(sqlSeenAgain, v.at, v.idx, d.refused, n.Outcome, n.Action, n.Value, of.subject, key.control, key.path)
	if err != nil || again > 0 {
		return err
	}
	if err := f.exec(sqlOpen, of.subject, key.control, key.path, of.namespace, v.at, v.idx, i, v.at, v.idx, d.refused, n.Outcome, n.Action, n.Value); err != nil {
		return err
	}
	return f.exec(sqlCountStanding, key.control, of.namespace, 1)
}

// others are the open findings of a subject that are not listed.
func (f *filling) others(subject int64, listed map[stood]bool) ([]stood, error) {
	s, err := f.stmt(sqlOpenOf)
	if err != nil {
		return nil, err
	}
	rows, err := s.QueryContext(f.ctx, subject)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []stood
	for rows.Next() {
		var key stood
		if err := rows.Scan(&key.control, &key.path); err != nil {
			return nil, err
		}
		if !listed[key] {
			out = append(out, key)
		}
	}
	return out, rows.Err()
}
