import { portInvalid } from './errors.ts'

/** @throws {TunnelError} REQUEST_INVALID */
export function servicePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0
  if (port >= 1 && port <= 65_535) return port
  throw portInvalid(text)
}
