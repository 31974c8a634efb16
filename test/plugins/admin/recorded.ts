import type { TestProxy } from '../../support/proxy.ts'

/** What is recorded in the audit trail from now on. */
export function auditOf(proxy: Pick<TestProxy, 'app'>) {
  const lines: Record<string, unknown>[] = []
  const { audit } = proxy.app
  const record = audit.record.bind(audit)
  audit.record = (event) => {
    lines.push(event as unknown as Record<string, unknown>)
    record(event)
  }
  return lines
}
