import { httpDial } from '../link/dial-http.ts'
import { HttpClient } from './http-client.ts'

/** Dials a link over HTTP streaming, through an HTTP proxy where one is on the way. */
export const dialHttp = httpDial((url, reach, connected) => HttpClient.to(url, reach, connected))
