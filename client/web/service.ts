import { configInvalid } from '../queue/errors.ts'
import { TunnelClient } from '../tunnel-client.ts'
import type { TunnelServiceOptions } from '../tunnel-options.ts'
import { platform } from './platform.ts'

/**
 * A page's way to its machines: one link to the proxy, and the requests that go over it, which outlive the link. Of the
 * library for Node it has all but what gives or takes a Node stream: `exec`, `open`, `shell`, `sftp`, `join`, and
 * `runDiagnostics`.
 */
export class TunnelService extends TunnelClient {
  /** @throws {TunnelError} CONFIG_INVALID for an address that is none, and in a page from http: */
  constructor(options: TunnelServiceOptions) {
    // Its ids, its ciphers and its locks are there in no other page.
    if (!isSecureContext) throw configInvalid('the page has to come from https:, or from localhost')
    super(options, platform)
  }
}
