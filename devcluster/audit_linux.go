package main

import (
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// defaultAuditPolicy logs who changed what, without contents: secrets never reach the receiver, and the annotations of
// admission policies do. It leaves out reads, and changes that only keep the cluster going. An attempt to enter
// a Pod counts as a change, whatever its verb: kubectl exec asks with "get".
const defaultAuditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
omitManagedFields: true
rules:
- level: None
  users: ["system:apiserver"]
- level: None
  resources:
  - group: ""
    resources: [events, endpoints, nodes/status, pods/status]
  - {group: events.k8s.io}
  - group: coordination.k8s.io
    resources: [leases]
  - group: discovery.k8s.io
    resources: [endpointslices]
  - {group: authentication.k8s.io}
  - {group: authorization.k8s.io}
- level: None
  users: ["system:kube-controller-manager"]
  resources:
  - group: ""
    resources: [serviceaccounts/token]
- level: Metadata
  resources:
  - group: ""
    resources: [pods/exec, pods/attach, pods/portforward]
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
`

// auditArgs writes what the API server needs to send audit events as opts says, and returns its flags. A receiver that
// is away costs events, never requests: the API server queues 10,000 of them and drops what does not fit.
func auditArgs(s *state, opts options) ([]string, error) {
	if opts.auditWebhook == "" && opts.auditPolicy == "" {
		return nil, nil
	}
	policy := opts.auditPolicy
	if policy == "" {
		policy = s.path("audit-policy.yaml")
		if err := writeFile(policy, []byte(defaultAuditPolicy), 0o600); err != nil {
			return nil, err
		}
	}
	args := []string{"--audit-policy-file=" + policy}
	if opts.auditWebhook == "" {
		return args, nil
	}
	receiver := s.path("audit-webhook.kubeconfig")
	if err := writeClientConfig(receiver, &clientcmdapi.Cluster{Server: opts.auditWebhook}, &clientcmdapi.AuthInfo{}); err != nil {
		return nil, err
	}
	return append(args, "--audit-webhook-config-file="+receiver,
		"--audit-webhook-batch-max-wait=1s", "--audit-webhook-initial-backoff=1s"), nil
}
