import { Type } from 'typebox'

export const readMetrics = {
  summary: "Prometheus' text format, or OpenMetrics for whoever accepts that",
  response: { 200: Type.String() },
}
