{{- define "ringfence.check" -}}
{{- if ne .Release.Namespace "ringfence-system" }}{{ fail (printf "Ringfence runs in namespace ringfence-system, which its policies know; found %s; fix: --namespace ringfence-system" .Release.Namespace) }}{{ end -}}
{{- if and (ne .Values.audit.source "none") (not .Values.evidence.enabled) }}{{ fail "audit.source needs evidence.enabled: refusals are kept in the ledger" }}{{ end -}}
{{- if and (ne .Values.audit.source "none") (not .Values.audit.tokenSecret) }}{{ fail "audit.source needs audit.tokenSecret: a Secret whose key tokens has one token a line" }}{{ end -}}
{{- if and (include "ringfence.doors" .) (not .Values.audit.tlsSecret) (not .Values.certManager.enabled) }}{{ fail "the doors are TLS: give audit.tlsSecret, or certManager.enabled" }}{{ end -}}
{{- if and (or .Values.doors.metricsTokenSecret .Values.doors.pushTokenSecret) (not .Values.evidence.enabled) }}{{ fail "doors need evidence.enabled" }}{{ end -}}
{{- if and (or .Values.api.enabled .Values.sinks.secret) (not .Values.evidence.enabled) }}{{ fail "api and sinks need evidence.enabled: they read the ledger" }}{{ end -}}
{{- if and .Values.api.enabled (not .Values.api.tlsSecret) (not .Values.certManager.enabled) }}{{ fail "the API is TLS: give api.tlsSecret, or certManager.enabled" }}{{ end -}}
{{- if and .Values.api.enabled (not .Values.api.clients) }}{{ fail "api.clients: say who may connect, as CIDRs; a NetworkPolicy that lets in everybody is refused by a rule" }}{{ end -}}
{{- if and .Values.images.enabled (not .Values.evidence.enabled) }}{{ fail "images.enabled needs evidence.enabled: reports and what follows of them lie on its volume" }}{{ end -}}
{{- if and .Values.images.enabled (not .Values.doors.pushTokenSecret) (not .Values.api.enabled) }}{{ fail "images.enabled needs doors.pushTokenSecret or api.enabled: pipelines show a token to send a report" }}{{ end -}}
{{- if and .Values.images.trivyOperator (not .Values.images.enabled) }}{{ fail "images.trivyOperator needs images.enabled: it gives a right to read reports, which nothing would read" }}{{ end -}}
{{- if and .Values.priorityClass.create (hasPrefix "system-" .Values.priorityClass.name) }}{{ fail (printf "priorityClass.create makes a class of Ringfence's own; %s is the cluster's; fix: another name, or create: false" .Values.priorityClass.name) }}{{ end -}}
{{- if and .Values.registries.signatures (not .Values.images.enabled) (not (contains "--image-facts" (join " " .Values.extraArgs))) }}{{ fail "registries.signatures needs images.enabled, or --image-facts=FOLDER in extraArgs: what registries show is kept there" }}{{ end -}}
{{- range $key, $_ := .Values.labels }}{{ if regexMatch "^(app\\.kubernetes\\.io/(name|part-of|component|managed-by)$|pod-security\\.kubernetes\\.io/|([A-Za-z0-9.-]+\\.)?ringfence\\.dev/)" $key }}{{ fail (printf "labels: leave out %s: Ringfence finds its own objects by it, or its namespace is guarded by it" $key) }}{{ end }}{{ end -}}
{{- if and .Values.certManager.enabled (not .Values.certManager.issuer.name) }}{{ fail "certManager.enabled needs certManager.issuer.name" }}{{ end -}}
{{- end -}}

{{- define "ringfence.doors" -}}
{{- if or (ne .Values.audit.source "none") .Values.doors.metricsTokenSecret .Values.doors.pushTokenSecret }}true{{ end -}}
{{- end -}}

{{- define "ringfence.labels" -}}
app.kubernetes.io/name: ringfence
app.kubernetes.io/part-of: ringfence
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "ringfence.image" -}}
{{ required "image.repository: want the repository of Ringfence's image, in the bank's registry" .Values.image.repository }}@{{ required "image.digest: want the image's digest, sha256:..." .Values.image.digest }}
{{- end -}}

{{- /* The flags of `ringfence serve`: of the process that leads (lead true), or of one that only answers reviews. */ -}}
{{- define "ringfence.args" -}}
- serve
- --webhook-listen=:9443
- --webhook-service=ringfence-system/ringfence
{{- if .root.Values.certManager.enabled }}
- --webhook-cert=/etc/ringfence/webhook/tls.crt
- --webhook-key=/etc/ringfence/webhook/tls.key
- --webhook-ca=/etc/ringfence/webhook/ca.crt
{{- end }}
{{- with .root.Values.registries.authsSecret }}
- --registry-auths=/etc/ringfence/registries/.dockerconfigjson
{{- end }}
{{- with .root.Values.registries.caSecret }}
- --registry-ca=/etc/ringfence/registry-ca/ca.crt
{{- end }}
{{- range .root.Values.registries.also }}
- --registry-also={{ . }}
{{- end }}
{{- if not .lead }}
- --webhook-only
{{- else }}
- --socket=/run/ringfence/ringfence.sock
{{- if .root.Values.evidence.enabled }}
- --evidence=/var/lib/ringfence/evidence
{{- end }}
{{- if include "ringfence.doors" .root }}
- --listen=:8443
- --tls-cert=/etc/ringfence/doors/tls.crt
- --tls-key=/etc/ringfence/doors/tls.key
{{- if ne .root.Values.audit.source "none" }}
- --audit-token-file=/etc/ringfence/audit/tokens
{{- end }}
{{- if .root.Values.doors.metricsTokenSecret }}
- --metrics-token-file=/etc/ringfence/metrics/tokens
{{- end }}
{{- if .root.Values.doors.pushTokenSecret }}
- --push-token-file=/etc/ringfence/push/tokens
{{- end }}
{{- end }}
{{- if .root.Values.api.enabled }}
- --api-listen=:9444
- --api-cert=/etc/ringfence/api/tls.crt
- --api-key=/etc/ringfence/api/tls.key
{{- end }}
{{- if .root.Values.sinks.secret }}
- --sinks=/etc/ringfence/sinks/sinks.yaml
{{- end }}
{{- if .root.Values.images.enabled }}
- --image-reports=/var/lib/ringfence/images/reports
- --image-facts=/var/lib/ringfence/images/facts
- --image-verdicts
{{- if .root.Values.images.trivyOperator }}
- --image-reports-trivy-operator
{{- end }}
{{- with .root.Values.images.advisories }}
- --image-advisories=/var/lib/ringfence/images/{{ . }}
{{- end }}
{{- end }}
{{- if .root.Values.registries.signatures }}
- --registry-signatures
{{- end }}
{{- range .root.Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* The files that those flags name. */ -}}
{{- define "ringfence.secrets" -}}
{{- $all := dict -}}
{{- if .root.Values.certManager.enabled }}{{ $_ := set $all "webhook" "ringfence-webhook" }}{{ end -}}
{{- with .root.Values.registries.authsSecret }}{{ $_ := set $all "registries" . }}{{ end -}}
{{- with .root.Values.registries.caSecret }}{{ $_ := set $all "registry-ca" . }}{{ end -}}
{{- if and .lead (include "ringfence.doors" .root) -}}
{{- $_ := set $all "doors" (.root.Values.audit.tlsSecret | default "ringfence-doors") -}}
{{- if ne .root.Values.audit.source "none" }}{{ $_ := set $all "audit" .root.Values.audit.tokenSecret }}{{ end -}}
{{- with .root.Values.doors.metricsTokenSecret }}{{ $_ := set $all "metrics" . }}{{ end -}}
{{- with .root.Values.doors.pushTokenSecret }}{{ $_ := set $all "push" . }}{{ end -}}
{{- end -}}
{{- if and .lead .root.Values.api.enabled }}{{ $_ := set $all "api" (.root.Values.api.tlsSecret | default "ringfence-api") }}{{ end -}}
{{- if .lead }}{{ with .root.Values.sinks.secret }}{{ $_ := set $all "sinks" . }}{{ end }}{{ end -}}
{{- toJson $all -}}
{{- end -}}

{{- /* Where API servers are, and DNS: some clusters tell pods a name of the API server. */ -}}
{{- define "ringfence.egress" -}}
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
  to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
- ports:
    {{- range .Values.network.apiServerPorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
  {{- with .Values.network.apiServers }}
  to:
    {{- range . }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
  {{- end }}
{{- end -}}

{{- /* Of every pod: who pulls, as whom it runs, where. */ -}}
{{- define "ringfence.pod" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  # Else every start would open the ledger's key to the group.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- end -}}

{{- /* Of every container. */ -}}
{{- define "ringfence.container" -}}
image: {{ include "ringfence.image" . }}
imagePullPolicy: IfNotPresent
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
{{- end -}}

{{- /* The volume with a token of the pod's account. */ -}}
{{- define "ringfence.token" -}}
# As kubelets mount it by themselves where the account allows; here only this pod has it.
- name: token
  projected:
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3600}
      - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
      - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end -}}
