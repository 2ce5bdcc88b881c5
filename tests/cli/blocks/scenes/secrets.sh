# A server of secrets as its page needs it: OpenBao in its development mode, which lets in accounts of Kubernetes.
if command -v bao >/dev/null; then
    export BAO_ADDR=http://127.0.0.1:7073 BAO_TOKEN=root-of-the-page
    bao server -dev -dev-no-store-token -dev-root-token-id="$BAO_TOKEN" -dev-listen-address="${BAO_ADDR#http://}" >bao.log 2>&1 &
    until bao status >/dev/null 2>&1; do sleep 0.1; done
    bao auth enable kubernetes
fi
