{{- define "fleet.name" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- trunc 40 $name | trimSuffix "-" -}}
{{- end }}

{{- /* A list: the chart's context and the name of a part. */ -}}
{{- define "fleet.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "fleet.labels" -}}
{{ include "fleet.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "fleet.metadata" -}}
name: {{ include "fleet.name" (index . 0) }}-{{ index . 1 }}
labels:
  {{- include "fleet.labels" . | nindent 2 }}
{{- end }}

{{- /* Helm reads all numbers of a file as floats, and would write 33554432 as 3.3554432e+07. */ -}}
{{- define "fleet.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ printf "%.0f" . }}{{- else -}}{{ toString . }}{{- end -}}
{{- end }}

{{- /* A dict: root, the chart's context; own, the settings of one part. */ -}}
{{- define "fleet.settings" -}}
{{- $values := .root.Values -}}
{{- $name := include "fleet.name" .root -}}
{{- $given := mergeOverwrite (dict) $values.settings .own -}}
{{- range $setting, $bundled := dict "TRACKER" "redis" "KAFKA_HOSTS" "kafka" -}}
{{- $said := or (hasKey $given $setting) (hasKey $values.secretSettings $setting) -}}
{{- $enabled := (index $values $bundled).enabled -}}
{{- if and $said $enabled -}}
{{- fail (printf "%s: names a server of yours, so %s.enabled must be false, not true" $setting $bundled) -}}
{{- end -}}
{{- if not (or $said $enabled) -}}
{{- fail (printf "%s: is missing; give settings.%s or secretSettings.%s, or %s.enabled=true" $setting $setting $setting $bundled) -}}
{{- end -}}
{{- end -}}
{{- if $values.redis.enabled -}}{{- $_ := set $given "TRACKER" (printf "redis://%s-redis:6379/0" $name) -}}{{- end -}}
{{- if $values.kafka.enabled -}}{{- $_ := set $given "KAFKA_HOSTS" (printf "%s-kafka:9092" $name) -}}{{- end -}}
{{- range $setting := keys $values.secretSettings -}}
{{- if hasKey $given $setting -}}
{{- fail (printf "%s: is both in settings and in secretSettings" $setting) -}}
{{- end -}}
{{- end -}}
{{- toYaml $given -}}
{{- end }}

{{- define "fleet.restScheme" -}}
{{- ternary "https" "http" (hasKey (mergeOverwrite (dict) .Values.settings .Values.rest.settings) "REST_TLS_CERTFILE") -}}
{{- end }}

{{- define "fleet.env" -}}
# Other settings may name it: $(POD_NAME).
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- range $setting, $value := include "fleet.settings" . | fromYaml }}
- name: {{ $setting }}
  value: {{ include "fleet.text" $value | quote }}
{{- end }}
{{- range $setting, $from := .root.Values.secretSettings }}
- name: {{ $setting }}
  valueFrom: {secretKeyRef: {{ toJson $from }}}
{{- end }}
{{- if .root.Values.metrics.enabled }}
- name: METRICS_HOST
  value: 0.0.0.0
- name: METRICS_PORT
  value: {{ .root.Values.metrics.port | quote }}
{{- end }}
{{- end }}

{{- define "fleet.image" -}}
image: {{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "fleet.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* A list: the context, and the user that the image knows. */ -}}
{{- define "fleet.pod" -}}
automountServiceAccountToken: false
# Kubernetes would set REDIS_PORT, KAFKA_PORT and such, which are names of settings.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ index . 1 }}
  runAsGroup: {{ index . 1 }}
  fsGroup: {{ index . 1 }}
  seccompProfile: {type: RuntimeDefault}
{{- with index . 0 }}
{{- range $name, $given := dict "imagePullSecrets" .Values.image.pullSecrets "nodeSelector" .Values.nodeSelector "tolerations" .Values.tolerations "affinity" .Values.affinity }}
{{- if $given }}
{{ $name }}:
  {{- toYaml $given | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "fleet.annotations" -}}
{{- if .Values.metrics.enabled }}
annotations:
  prometheus.io/scrape: "true"
  prometheus.io/port: {{ .Values.metrics.port | quote }}
{{- end }}
{{- end }}

{{- define "fleet.ports" -}}
{{- if .Values.metrics.enabled }}
ports:
  - {name: metrics, containerPort: {{ .Values.metrics.port }}}
{{- end }}
{{- end }}

{{- define "fleet.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- with .Values.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "fleet.volumes" -}}
- name: tmp
  emptyDir: {}
{{- with .Values.volumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /*
A probe asks Redis. While Redis is away a process waits for it, holding its pages: only after
ten minutes of it is it started again.
*/ -}}
{{- define "fleet.probes" -}}
{{- range $probe, $failures := dict "startupProbe" 12 "readinessProbe" 2 "livenessProbe" 10 }}
{{ $probe }}:
  exec: {command: [fleet, alive, {{ $ }}]}
  periodSeconds: {{ ternary 10 60 (eq $probe "startupProbe") }}
  timeoutSeconds: 20
  failureThreshold: {{ $failures }}
{{- end }}
{{- end }}
