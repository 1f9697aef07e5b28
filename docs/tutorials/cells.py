import anndata

from fastnmf import tl

adata = anndata.read_h5ad("cells.h5ad")
tl.stratified_nmf(adata, "batch", 4, layer="counts", beta_loss="kullback-leibler", n_init=4, random_state=0)
markers = adata.varm["nmf_markers"]
for programme in range(4):
    print(programme, *adata.var_names[(-markers[:, programme]).argsort()[:6]])
print(adata.obs.groupby("batch", observed=True).size().to_dict(), adata.obsm["X_nmf_usage"].shape)
adata.write_h5ad("fitted.h5ad")
