import { Type } from 'typebox'

export const readMetrics = {
  summary: "Prometheus' text format, or OpenMetrics where the request accepts it",
  response: { 200: Type.String() },
}
