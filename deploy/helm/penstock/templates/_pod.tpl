{{/* What the pods of all services share. */}}

{{- define "penstock.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "penstock.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Variables from keys of the secret. Called with a dict of `root` and `secrets`, a list of such keys. */}}
{{- define "penstock.secrets" -}}
{{- $root := .root -}}
{{- range .secrets }}
- name: PENSTOCK_{{ . | replace "-" "_" | upper }}
  valueFrom:
    secretKeyRef:
      name: {{ $root.Values.existingSecret }}
      key: {{ . }}
{{- end }}
{{- end -}}

{{- define "penstock.artifacts" -}}
- name: PENSTOCK_ARTIFACTS_URL
  value: {{ .Values.artifacts.url | quote }}
- name: AWS_REGION
  value: {{ .Values.artifacts.region | quote }}
{{- with .Values.artifacts.endpoint }}
- name: AWS_ENDPOINT_URL_S3
  value: {{ . | quote }}
{{- end }}
{{- with .Values.artifacts.existingSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: access-key-id
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: secret-access-key
{{- end }}
{{- end -}}

{{/* Of every container. Called with a dict of `root`, `secrets` and `drainSeconds`. */}}
{{- define "penstock.environment" -}}
- name: PENSTOCK_WORKSPACE
  value: {{ .root.Values.workspace | quote }}
- name: PENSTOCK_DRAIN_SECONDS
  value: {{ .drainSeconds | quote }}
- name: PENSTOCK_HEALTH_ADDRESS
  value: 0.0.0.0:9090
{{ include "penstock.artifacts" .root }}
{{- include "penstock.secrets" . }}
{{- with .root.Values.environment }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "penstock.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: health}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: health}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}

{{/* Not all replicas on one node or in one zone. Called with a dict of `root` and `role`. */}}
{{- define "penstock.apart" -}}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "penstock.selector" . | nindent 14 }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "penstock.selector" . | nindent 8 }}
{{- end -}}

{{- define "penstock.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "penstock.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
