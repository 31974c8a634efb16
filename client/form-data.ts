const CRLF = '\r\n'

/** A name inside quotes, as browsers write it (HTML, section 4.10.21.8). */
function quoted(text: string): string {
  return text
    .replace(/\r\n|\r|\n/g, CRLF)
    .replace(/[\r\n"]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`)
}

/**
 * A form as multipart/form-data (RFC 7578). The files in it are referred to, not read, and the whole has a size, so
 * that it is sent with its length and can be sent again.
 */
export function formBlob(form: FormData): Blob {
  const boundary = `----tunnel${crypto.randomUUID()}`
  const parts: (string | Blob)[] = []
  for (const [name, value] of form) {
    const disposition = `--${boundary}${CRLF}Content-Disposition: form-data; name="${quoted(name)}"`
    if (typeof value === 'string') {
      parts.push(`${disposition}${CRLF}${CRLF}${value.replace(/\r(?!\n)|(?<!\r)\n/g, CRLF)}${CRLF}`)
    } else {
      const type = value.type === '' ? 'application/octet-stream' : value.type
      parts.push(
        `${disposition}; filename="${quoted(value.name)}"${CRLF}Content-Type: ${type}${CRLF}${CRLF}`,
        value,
        CRLF,
      )
    }
  }
  parts.push(`--${boundary}--${CRLF}`)
  return new Blob(parts, { type: `multipart/form-data; boundary=${boundary}` })
}
