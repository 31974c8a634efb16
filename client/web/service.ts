import type { DiagnosticOptions, DiagnosticReport } from '../diagnostics/report.ts'
import { loaded } from '../part.ts'
import { configInvalid } from '../queue/errors.ts'
import { TunnelClient } from '../tunnel-client.ts'
import type { TunnelServiceOptions } from '../tunnel-options.ts'
import { loadForwarding } from './forwarding.ts'
import { platform } from './platform.ts'

/**
 * A page's way to its machines: one link to the proxy, and the requests that go over it, which outlive the link. Of the
 * library for Node it has all but what gives or takes a Node stream: `exec`, `open`, `shell`, `sftp` and `join`.
 */
export class TunnelService extends TunnelClient {
  /** @throws {TunnelError} CONFIG_INVALID for an address that is none, and in a page from http: */
  constructor(options: TunnelServiceOptions) {
    // Its ids, its ciphers and its locks are there in no other page.
    if (!isSecureContext) throw configInvalid('the page has to come from https:, or from localhost')
    super(options, platform)
    this.on('state', (state) => {
      if (state === 'connected') loadForwarding()
    })
  }

  /**
   * Tries every hop that a page can see, on a link of its own: the ticket, the upgrade, HELLO and the round trip, the agent,
   * and with a `target` a request to it and how fast its answer comes. A hop that fails rejects nothing: it is in the report.
   * @throws {TunnelError} CONFIG_INVALID for settings, ABORTED
   */
  async runDiagnostics(options: DiagnosticOptions = {}): Promise<DiagnosticReport> {
    const { diagnose, subjectOf, ...means } = await loaded(import('./diagnostics.ts'))
    const subject = subjectOf(this.options, this.platform, another)
    return diagnose(this.addresses, subject, means, options)
  }
}

/** Beside the class: a bundler gives one that names itself another name, which every stack would show. */
function another(options: TunnelServiceOptions): TunnelService {
  return new TunnelService(options)
}
