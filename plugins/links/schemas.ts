import { Type } from 'typebox'

/** Links over HTTP streaming (docs/PROTOCOL.md). Their bodies are bytes, which no schema checks. */
export const openStream = {
  summary: 'A link over HTTP streaming; the answer is its records, for as long as it lives',
  response: { 200: Type.Unknown({ description: 'application/octet-stream' }) },
}
export const postToStream = {
  summary: 'Records for a link over HTTP streaming',
  response: { 204: Type.Null() },
}
