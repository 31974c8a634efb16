import { Type } from 'typebox'

const uptimeSeconds = Type.Integer({ minimum: 0 })

export const liveness = {
  summary: 'Liveness: the process answers',
  response: { 200: Type.Object({ status: Type.Literal('ok'), uptimeSeconds }) },
}

const Readiness = Type.Object({
  status: Type.Union([Type.Literal('ready'), Type.Literal('unready')]),
  uptimeSeconds,
  checks: Type.Record(
    Type.String(),
    Type.Object({
      status: Type.Union([Type.Literal('ok'), Type.Literal('failed')]),
      detail: Type.Optional(Type.String()),
    }),
  ),
})

export const readiness = {
  summary: 'Readiness: every check that new work depends on',
  response: { 200: Readiness, 503: Readiness },
}
