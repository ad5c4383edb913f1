{{- define "feedmill.labels" -}}
app.kubernetes.io/name: feedmill
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "feedmill.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Rules over several values, which the schema cannot say. */}}
{{- define "feedmill.check" -}}
{{- $v := .Values }}
{{- $max := int $v.topics.partitions }}
{{- if not (or $v.workers.worker (and $v.workers.judge $v.workers.ranker)) }}
{{- fail "workers: expected judge and ranker, or worker: posts must be judged and feeds ranked" }}
{{- end }}
{{- if and $v.workers.worker (or $v.workers.judge $v.workers.ranker) }}
{{- fail "workers: expected judge and ranker, or worker, not both; set the others to null" }}
{{- end }}
{{- range $role := list "judge" "worker" }}
{{- with index $v.workers $role }}
{{- if gt (int .replicas) $max }}
{{- fail (printf "workers.%s.replicas: %d are more than topics.partitions, %d: the others would idle" $role (int .replicas) $max) }}
{{- end }}
{{- end }}
{{- end }}
{{- with $v.autoscaling }}
{{- if .enabled }}
{{- if not $v.workers.judge }}{{ fail "autoscaling.enabled: only judges are scaled; set workers.judge and workers.ranker" }}{{ end }}
{{- if gt (int .max) $max }}{{ fail (printf "autoscaling.max: %d are more than topics.partitions, %d" (int .max) $max) }}{{ end }}
{{- if lt (int .max) (int .min) }}{{ fail (printf "autoscaling.max: %d is less than autoscaling.min, %d" (int .max) (int .min)) }}{{ end }}
{{- end }}
{{- end }}
{{- if and (not $v.redis) (not (hasKey $v.secrets "FEEDMILL_REDIS_FILE")) }}
{{- fail "redis: expected a url without a password, or FEEDMILL_REDIS_FILE in secrets" }}
{{- end }}
{{- if and $v.models $v.modelsClaim }}{{ fail "modelsClaim: expected models or modelsClaim, not both" }}{{ end }}
{{- end }}

{{/* A pod: root (the chart's context), part (its name), args, port, probe, of (its own values), volumes, mounts. */}}
{{- define "feedmill.pod" -}}
{{- $v := .root.Values }}
{{- $of := .of | default dict }}
{{- $secrets := merge (dict) ($of.secrets | default dict) $v.secrets }}
metadata:
  labels:
    {{- include "feedmill.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .part }}
    {{- with $v.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- with $v.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  automountServiceAccountToken: false
  serviceAccountName: {{ if .hook }}default{{ else }}{{ include "feedmill.name" .root }}{{ end }}
  terminationGracePeriodSeconds: {{ $v.gracePeriodSeconds }}
  {{- with $v.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $v.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $v.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $v.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if and $v.spread (not .hook) }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "feedmill.labels" $.root | nindent 10 }}
          app.kubernetes.io/component: {{ $.part }}
    {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile: {type: RuntimeDefault}
  {{- if .hook }}
  restartPolicy: Never
  {{- end }}
  containers:
    - name: feedmill
      image: {{ $v.image.repository }}{{ if $v.image.digest }}@{{ $v.image.digest }}{{ else }}:{{ $v.image.tag | default .root.Chart.AppVersion }}{{ end }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      args: {{- toYaml .args | nindent 8 }}
      env:
        - {name: FEEDMILL_INSTANCE, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: FEEDMILL_HOST, value: "0.0.0.0"}
        - {name: FEEDMILL_KAFKA, value: {{ $v.kafka | quote }}}
        {{- if not (hasKey $secrets "FEEDMILL_REDIS_FILE") }}
        - {name: FEEDMILL_REDIS, value: {{ $v.redis | quote }}}
        {{- end }}
        {{- if $v.topicPrefix }}
        - {name: FEEDMILL_TOPIC_PREFIX, value: {{ $v.topicPrefix | quote }}}
        {{- end }}
        {{- if $v.redisPrefix }}
        - {name: FEEDMILL_REDIS_PREFIX, value: {{ $v.redisPrefix | quote }}}
        {{- end }}
        {{- if or $v.models $v.modelsClaim }}
        - {name: FEEDMILL_MODELS, value: {{ $v.models | default "/models" | quote }}}
        {{- end }}
        {{- if $v.ca }}
        - {name: FEEDMILL_KAFKA_SSL_CAFILE, value: /etc/feedmill/ca/{{ $v.ca.key }}}
        - {name: FEEDMILL_REDIS_SSL_CAFILE, value: /etc/feedmill/ca/{{ $v.ca.key }}}
        {{- end }}
        {{- range $name, $from := $secrets }}
        - {name: {{ $name }}, value: /run/secrets/feedmill/{{ $name }}}
        {{- end }}
        {{- range $name, $value := merge (dict) ($of.env | default dict) $v.env }}
        - {name: {{ $name }}, value: {{ $value | toString | quote }}}
        {{- end }}
      {{- if .port }}
      ports:
        - {name: {{ .portName | default "metrics" }}, containerPort: {{ .port }}}
      {{- if .probe }}
      startupProbe: {httpGet: {path: /healthz, port: {{ .port }}}, periodSeconds: 5, failureThreshold: 60}
      livenessProbe: {httpGet: {path: /healthz, port: {{ .port }}}, periodSeconds: 10, failureThreshold: 6, timeoutSeconds: 5}
      readinessProbe: {httpGet: {path: {{ .probe }}, port: {{ .port }}}, periodSeconds: 5, timeoutSeconds: 5}
      {{- else }}
      readinessProbe: {tcpSocket: {port: {{ .port }}}, periodSeconds: 5}
      {{- end }}
      {{- end }}
      resources: {{- toYaml ($of.resources | default $v.resources) | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        - {name: home, mountPath: /var/lib/feedmill}
        {{- if $secrets }}
        - {name: secrets, mountPath: /run/secrets/feedmill, readOnly: true}
        {{- end }}
        {{- if $v.ca }}
        - {name: ca, mountPath: /etc/feedmill/ca, readOnly: true}
        {{- end }}
        {{- if $v.modelsClaim }}
        - {name: models, mountPath: /models, readOnly: true}
        {{- end }}
        {{- with .mounts }}{{ toYaml . | nindent 8 }}{{ end }}
  volumes:
    - {name: tmp, emptyDir: {}}
    - {name: home, emptyDir: {}}
    {{- if $secrets }}
    - name: secrets
      projected:
        defaultMode: 0440
        sources:
          {{- range $name, $from := $secrets }}
          - secret: {name: {{ $from.secret }}, items: [{key: {{ $from.key | quote }}, path: {{ $name }}}]}
          {{- end }}
    {{- end }}
    {{- if $v.ca }}
    - {name: ca, configMap: {name: {{ $v.ca.configMap }}}}
    {{- end }}
    {{- if $v.modelsClaim }}
    - {name: models, persistentVolumeClaim: {claimName: {{ $v.modelsClaim }}, readOnly: true}}
    {{- end }}
    {{- with .volumes }}{{ toYaml . | nindent 4 }}{{ end }}
{{- end }}
