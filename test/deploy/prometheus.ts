import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { spawnProgram } from '../support/process.ts'
import type { Scope } from '../support/scope.ts'
import { freePort } from '../support/system.ts'
import { tempFolder } from '../support/tree.ts'

export const deploy = (path: string) => fileURLToPath(new URL(`../../deploy/${path}`, import.meta.url))

export const RULE_FILES = ['tunnel', 'slo'].map((name) => deploy(`prometheus/${name}.rules.yaml`))

export interface Sample {
  metric: Record<string, string>
  value: [number, string]
}

/** A real Prometheus with configuration `config`, which is asked at `url`. */
export async function startPrometheus(scope: Scope, config: object): Promise<PrometheusServer> {
  const folder = await tempFolder(scope, 'prometheus')
  const file = join(folder, 'prometheus.yml')
  await writeFile(file, stringify(config))
  const port = await freePort()
  const program = spawnProgram(scope, 'prometheus', [
    `--config.file=${file}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
  ])
  await program.line(/Server is ready to receive web requests/)
  return new PrometheusServer(`http://127.0.0.1:${port}`)
}

class PrometheusServer {
  readonly #url: string

  constructor(url: string) {
    this.#url = url
  }

  /** What an instant query gives. Throws what Prometheus has against it. */
  async query(expr: string): Promise<Sample[]> {
    const body = new URLSearchParams({ query: expr })
    const response = await fetch(`${this.#url}/api/v1/query`, { method: 'POST', body })
    const { data, error } = (await response.json()) as {
      data?: { result: Sample[] }
      error?: string
    }
    if (data === undefined) throw new Error(`${expr}: ${error}`)
    return data.result
  }
}
