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

{{/* Variables from keys of the secret. Called with a dict of `root`, `secrets`, a list of such keys, and `brokerKey`, if another holds the broker's. */}}
{{- define "penstock.secrets" -}}
{{- $root := .root -}}
{{- $brokerKey := .brokerKey | default "broker-url" -}}
{{- range .secrets }}
- name: PENSTOCK_{{ . | replace "-" "_" | upper }}
  valueFrom:
    secretKeyRef:
      name: {{ $root.Values.existingSecret }}
      key: {{ eq . "broker-url" | ternary $brokerKey . }}
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

{{/* What coordinators and the API read for users, and where webhooks may go. */}}
{{- define "penstock.data" -}}
{{- with .Values.datastores }}
- name: PENSTOCK_DATASTORES
  value: {{ toJson . | quote }}
{{- end }}
{{- if .Values.datastoresSecret }}
- name: PENSTOCK_SECRETS_FOLDER
  value: /run/secrets/datastores
{{- end }}
{{- with .Values.webhooks.allow }}
- name: PENSTOCK_WEBHOOK_ALLOW
  value: {{ join ", " . | quote }}
{{- end }}
{{- end -}}

{{- define "penstock.dataMount" -}}
{{- if .Values.datastoresSecret -}}
- {name: datastores, mountPath: /run/secrets/datastores, readOnly: true}
{{- end -}}
{{- end -}}

{{- define "penstock.dataVolume" -}}
{{- with .Values.datastoresSecret -}}
- name: datastores
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end -}}
{{- end -}}

{{- define "penstock.oidc" -}}
{{- if .issuer }}
- name: PENSTOCK_OIDC_ISSUER
  value: {{ .issuer | quote }}
{{- with .clientId }}
- name: PENSTOCK_OIDC_CLIENT_ID
  value: {{ . | quote }}
{{- end }}
{{- with .audience }}
- name: PENSTOCK_OIDC_AUDIENCE
  value: {{ . | quote }}
{{- end }}
- name: PENSTOCK_OIDC_SUBJECT_CLAIM
  value: {{ .subjectClaim | quote }}
- name: PENSTOCK_OIDC_GROUPS_CLAIM
  value: {{ .groupsClaim | quote }}
{{- end }}
{{- end -}}

{{/* Of every container. Called with a dict of `root`, `secrets`, `drainSeconds`, and `brokerKey` as above. */}}
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
